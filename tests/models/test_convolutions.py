"""Convolutional decoders and encoders in `vae` and in guides of rows, with conditions."""

import numpy as np
import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine.terms import terms
from pyrodgm.errors import DataError, UsageError
from pyrodgm.guides import DiagonalNormal, Factorised, NormalFlow
from pyrodgm.models import VAE
from pyrodgm.networks.pictures import PictureDecoder
from variants import path_log_probs, randomised

SMALL = {"hidden_dim": (4, 3), "network": (2, 3)}


def pictures(kind="binary", shape=(3, 5, 3), **facts):
    """Rows that are pictures of an odd size, with two conditions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, int(np.prod(shape)))) if kind == "real" else None
    bits = (rng.random((6, int(np.prod(shape)))) < 0.5).astype(np.uint8)
    rows = Sequences(bits if x is None else x, np.ones(6), conditions=rng.normal(size=(6, 2)))
    parts = dict.fromkeys(("train", "valid", "test"), rows)
    return Splits.of("toy", kind, parts, image_shape=shape, **facts)


@pytest.mark.parametrize("kind", ["binary", "real"])
@pytest.mark.parametrize("guide", [DiagonalNormal, Factorised, NormalFlow])
def test_both_executions_agree_and_rows_do_not_depend_on_each_other(double_precision, kind, guide):
    splits = pictures(kind)
    model = randomised(VAE(splits.info, latent_dim=2, **SMALL), 0.3)
    q = randomised(guide(model, **SMALL), 0.3)
    batch = splits.train.batch(range(6))
    found = terms(model, q, batch, 4)
    for program, expected in ((model, found.p), (q, found.q)):
        for fused in (True, False):
            nats = path_log_probs(program, batch, found.values, fused=fused)
            for name, each in nats.items():
                torch.testing.assert_close(each, expected[name])
    some = {name: value[:, 2:4] for name, value in found.values.items()}
    for program, expected in ((model, found.p), (q, found.q)):
        nats = path_log_probs(program, splits.train.batch([2, 3]), some, fused=True)
        for name, each in nats.items():
            torch.testing.assert_close(each, expected[name][:, 2:4])


def test_conditions_change_the_decoder_and_the_guide(double_precision):
    splits = pictures()
    model = randomised(VAE(splits.info, latent_dim=2, **SMALL), 0.5)
    guide = randomised(DiagonalNormal(model, **SMALL), 0.5)
    batch = splits.train.batch(range(6))
    values = {"z": torch.randn(3, 6, 1, 2)}
    moved = Batch.of(batch.x, batch.conditions + 1)
    for program in (model, guide):
        before, after = (path_log_probs(program, b, values, fused=True) for b in (batch, moved))
        for name in set(before) - ({"z"} if program is model else set()):
            assert (before[name] != after[name]).sum() > 3  # not all: units are off for some


@pytest.mark.parametrize("latents", ["gaussian", "bernoulli", "mixed"])
def test_gradients_of_the_bound_reach_every_parameter(latents):
    splits = pictures()
    model = VAE(splits.info, latents=latents, latent_dim=2, hidden_dim=8, network=(4, 5))
    guide = Factorised(model, hidden_dim=8, network=(4, 5))
    assert isinstance(model.decoder.last, PictureDecoder)
    found = terms(model, guide, splits.train.batch(range(6)), 20)
    (sum(found.p.values()).sum() - sum(found.q.values()).sum()).backward()
    for program in (model, guide):
        for name, parameter in program.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_what_does_not_fit_is_refused():
    rows = Splits.of("flat", "binary", dict(pictures().items())).info
    for build in (lambda: VAE(rows, network="conv"), lambda: guide_of(rows)):
        with pytest.raises(DataError, match=r"frames of 'flat' are not pictures.*network 'dense'"):
            build()
    with pytest.raises(UsageError, match="NADEBits has others"):
        VAE(pictures(shape=(2, 2)).info, network="conv", emission="nade")


def guide_of(info):
    return DiagonalNormal(VAE(info), network="conv")


def test_options_of_the_network(cli, tiny):
    for value, message in (("cnn", "model.network = 'cnn'"), ("[0]", "greater than or equal to 1")):
        options = ("--data", tiny, "--set", f"model.network={value}")
        said = cli("fit", "--model", "vae", *options)
        assert said.code == 2
        assert message in said.err
    said = cli(
        "fit", "--model", "vae", "--data", tiny, "--set", "guide.network=[4,8]", "--steps", 1
    )
    assert (said.code, "are not pictures" in said.err) == (3, True)
