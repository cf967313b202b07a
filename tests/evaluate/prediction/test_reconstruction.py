"""Reconstructions are the means of the decoder at latents of the guide, in the data's units."""

import math
import warnings

import numpy as np
import torch

from oracles import assert_mean
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.distributions import bit_vectors
from pyrodgm.engine.draws import draw
from pyrodgm.evaluate.prediction.reconstruction import reconstruct, reconstruction_error
from pyrodgm.guides import AutoregressiveBernoulli, DiagonalNormal
from pyrodgm.models import DARN, VAE
from pyrodgm.seeds import forked
from variants import randomised


def test_reconstructions_are_means_given_latents_of_the_guide():
    x = 100 + np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    rows = Sequences(x, np.ones(7, np.int64))
    splits = Splits.of("rows", "real", dict.fromkeys(("train", "valid", "test"), rows))
    model = randomised(VAE(splits.info, latent_dim=2, hidden_dim=3), 0.5)
    guide = randomised(DiagonalNormal(model, hidden_dim=3), 0.5)
    found = reconstruct(model, guide, splits.test, most=4, samples=3, seed=5)
    chosen = [0, 2, 4, 6]
    np.testing.assert_allclose(found.observed, x[chosen], rtol=1e-6)
    with torch.no_grad(), forked(5, "reconstruct"):
        z = draw(guide, splits.test.batch(chosen), 3).values["z"]
        expected = splits.test.uncentred(model.decoder(z).mean.mean(0))[:, 0]
    np.testing.assert_allclose(found.expected, expected.numpy(), rtol=1e-6)


def test_missing_features_are_reconstructed_and_all_rows_are_used_where_there_are_few():
    x = np.eye(3, dtype=np.float32)
    x[1, 1] = np.nan
    rows = Sequences(x, np.ones(3, np.int64))
    parts = dict.fromkeys(("train", "valid", "test"), rows)
    info = (splits := Splits.of("rows", "binary", parts)).info
    model = VAE(info, latent_dim=1, hidden_dim=2)
    found = reconstruct(model, DiagonalNormal(model, hidden_dim=2), splits.test)
    np.testing.assert_array_equal(found.observed, x)
    assert found.expected.shape == (3, 3)
    assert np.isfinite(found.expected).all()


def test_the_error_of_a_single_row_has_no_standard_error():
    row = Sequences(np.eye(1, 3, dtype=np.float32), np.ones(1, np.int64))
    info = Splits.of("row", "binary", dict.fromkeys(("train", "valid", "test"), row)).info
    model = VAE(info, latent_dim=1, hidden_dim=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reconstruction_error(model, DiagonalNormal(model, hidden_dim=2), row)
    assert math.isfinite(found.value)
    assert math.isnan(found.error)


def test_dependent_features_are_averaged_over_draws():
    torch.manual_seed(0)
    rows = Sequences(np.eye(3, dtype=np.float32), np.ones(3, np.int64))
    info = Splits.of("rows", "binary", dict.fromkeys(("train", "valid", "test"), rows)).info
    model = randomised(DARN(info, hidden_dim=2))
    guide = AutoregressiveBernoulli(model).double()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.zero_()  # fair bits
        nats = [
            model.emission(model.x_bias + model.x_from_z(z)).log_prob(bit_vectors(3, z))
            for z in bit_vectors(2, model.x_bias)
        ]
        exact = torch.stack(nats).exp().mean(0) @ bit_vectors(3, model.x_bias)
    data = Sequences(np.eye(3, dtype=np.float32)[[0] * 400], np.ones(400, np.int64))
    found = reconstruct(model.float(), guide.float(), data, most=400, samples=4, seed=1)
    assert_mean(torch.from_numpy(found.expected).double(), exact)
