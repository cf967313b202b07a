"""By which number weights are chosen: the bound, or what was held out."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from oracles import Enumerated
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import NonFiniteError
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.evaluate.likelihood.validation import (
    Validation,
    nats_per_held_out_token,
    validate,
)
from variants import SEQUENTIAL, D, chances_given_paths, frames, pair, scoring


def counts(seed, lengths):
    return np.random.default_rng(seed).poisson(2.0, (sum(lengths), D)).astype(np.float32)


@pytest.mark.parametrize("variant", SEQUENTIAL)
def test_held_out_tokens_are_scored_by_the_mixture_of_the_guides_paths(variant):
    model, guide = pair(variant, "multinomial")
    x = frames("multinomial", 2)
    exact = Enumerated(model, guide, x, **scoring(model, "multinomial"))
    with torch.no_grad():
        probabilities = torch.einsum(
            "s,std->td", exact.q, chances_given_paths(model, x, exact.paths)
        )
    held_out = torch.arange(2 * D).reshape(2, D) % 3
    nats = float((held_out * probabilities.log()).sum() / held_out.sum())
    split = Sequences(x.float().numpy(), np.array([2]), held_out=held_out.float().numpy())
    found = nats_per_held_out_token(model.float(), guide.float(), split, draws=20_000)
    # Of a binary latent the mean of 20 000 draws is known to 0.0036; each nat moves by less.
    assert found == pytest.approx(nats, abs=0.02)


def test_padding_and_the_order_of_sequences_do_not_matter():
    """Without latents the score of several sequences is that of their tokens together."""
    lengths = np.array([3, 7, 1])
    x, held_out = counts(0, lengths), counts(1, lengths)
    split = Sequences(x, lengths, held_out=held_out)
    splits = Splits.of("words", "count", dict.fromkeys(("train", "valid", "test"), split))
    torch.manual_seed(0)
    model = dgm.models.AR(splits.info, history=1)
    guide = dgm.guides.NoGuide(model)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    parts = [
        Sequences(x[a:b], np.array([b - a]), held_out=held_out[a:b]) for a, b in pairwise(starts)
    ]
    each = [nats_per_held_out_token(model, guide, part, draws=1) for part in parts]
    tokens = [part.held_out.sum() for part in parts]
    together = nats_per_held_out_token(model, guide, split, draws=1)
    assert together == pytest.approx(np.average(each, weights=tokens), rel=1e-5)


def test_the_score_is_the_bound_unless_something_is_held_out():
    model, guide = (part.float() for part in pair("hmsbn", "multinomial"))
    x = frames("multinomial", 3).float().numpy()
    plain = validate(model, guide, Sequences(x, np.array([3])))
    bounded = bound(model, guide, Sequences(x, np.array([3])))
    assert (plain.by, plain.score) == ("bound", bounded.nats_per_frame)
    assert plain.numbers["nats_per_frame"] == bounded.nats_per_frame
    assert "nats_per_held_out_token" not in plain.numbers
    split = Sequences(x, np.array([3]), held_out=np.ones((3, D)))
    found = validate(model, guide, split)
    assert found.numbers["nats_per_frame"] == bound(model, guide, split).nats_per_frame
    assert found.score == nats_per_held_out_token(model, guide, split)
    assert found.by == "held-out tokens"
    assert found.numbers["nats_per_held_out_token"] == found.score


def test_a_score_that_is_no_number_is_refused():
    assert Validation().score is None
    assert Validation("pseudo-likelihood", -np.inf).score == -np.inf
    with pytest.raises(NonFiniteError, match="pseudo-likelihood on validation is nan"):
        Validation("pseudo-likelihood", float("nan"))


def test_training_keeps_the_weights_that_predict_held_out_tokens_best(tmp_path):
    """Learning few counts by heart improves their bound and spoils what is held out."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(D) * 5, 12)
    few = np.stack([rng.multinomial(8, p) for p in shares]).astype(np.float32)
    others = np.stack([rng.multinomial(200, p) for p in shares]).astype(np.float32)
    lengths = np.array([12])
    valid = Sequences(few, lengths, held_out=others)
    parts = {"train": Sequences(few, lengths), "valid": valid, "test": valid}
    splits = Splits.of("words", "count", parts)
    model = dgm.models.HMSBN(splits.info, hidden_dim=20)
    guide = dgm.guides.RecurrentBernoulli(model)
    objective = dgm.objectives.LocalRLOO(model, guide)
    options = {"lr": 0.05, "steps": 300, "evaluate_every": 20, "averaging": 0.0}
    run = dgm.fit(objective, splits, out=tmp_path / "run", seed=0, **options)
    table = run.metrics().dropna(subset="valid_nats_per_held_out_token").set_index("step")
    held_out = table["valid_nats_per_held_out_token"]
    assert run.folder.best().name == f"step-{held_out.idxmax():08d}"
    assert held_out.idxmax() < 300
    assert table["valid_nats_per_frame"].idxmax() != held_out.idxmax()
    score = nats_per_held_out_token(run.model, run.guide, valid, seed=0)
    assert score == pytest.approx(held_out.max(), rel=1e-5)
