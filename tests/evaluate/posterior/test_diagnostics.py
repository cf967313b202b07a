import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.weights import importance_weights
from pyrodgm.evaluate.posterior.diagnostics import (
    effective_sample_size,
    gap_per_frame,
    pareto_k,
    verdict,
)
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN

DIM, HIDDEN = 5, 6


@pytest.fixture(scope="module")
def exact():
    """A model whose observations say nothing about its latents: the prior is the posterior."""
    torch.manual_seed(0)
    lengths = np.array([12, 3, 20, 7])
    x = np.random.default_rng(0).integers(0, 2, (lengths.sum(), DIM)).astype(np.uint8)
    part = Sequences(x, lengths)
    splits = Splits.of("toy", "binary", {"train": part, "valid": part, "test": part})
    model = TSBN(splits.info, hidden_dim=HIDDEN, init_scale=0.8)
    guide = RecurrentBernoulli(model)
    with torch.no_grad():
        model.x_from_z.weight.zero_()
        guide.layers[0].own.weight.copy_(model.layers[0].own.weight)
        guide.layers[0].past.weight.copy_(model.layers[0].past.weight)
        guide.layers[0].now.weight.zero_()
    guide.layers[0].bias.load_state_dict(model.layers[0].bias.state_dict())
    return model, guide, part


def test_the_exact_posterior_passes(exact):
    model, guide, part = exact
    log_w = importance_weights(model, guide, part, particles=200)
    assert pareto_k(log_w).max() == 0
    assert effective_sample_size(log_w) == pytest.approx(200, rel=1e-3)
    assert gap_per_frame(log_w, part.lengths).max() < 1e-5
    assert verdict(pareto_k(log_w)).startswith("The guide can be trusted on 4 of 4 sequences")


def test_a_wrong_guide_is_caught(exact):
    model, guide, part = exact
    state = {name: value.clone() for name, value in guide.state_dict().items()}
    with torch.no_grad():
        for parameter in guide.layers[0].bias.parameters():
            parameter.add_(3.0)
    log_w = importance_weights(model, guide, part, particles=2000)
    guide.load_state_dict(state)
    k = pareto_k(log_w)
    assert (k[part.lengths >= 7] > 0.7).all()
    assert (effective_sample_size(log_w)[part.lengths >= 7] < 100).all()
    assert (gap_per_frame(log_w, part.lengths) > 0.5).all()


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9, 1.3])
def test_k_is_the_tail_index_of_a_generalised_pareto_distribution(shape):
    u = np.random.default_rng(1).random((2000, 60))
    log_w = np.log((u**-shape - 1) / shape + 1e-12)
    # One k-hat scatters by about 0.1, a mean of 60 by 0.02; the prior of the fit pulls towards 0.5.
    assert pareto_k(log_w).mean() == pytest.approx(shape, abs=0.1)


@pytest.mark.parametrize("draws", [100, 400, 2000])
@pytest.mark.parametrize("scale", [0.3, 1, 3, 10, 100])
def test_k_is_that_of_arviz_where_weights_differ(draws: int, scale: float) -> None:
    log_w = scale * np.random.default_rng(4).normal(size=(draws, 5))
    theirs = [float(array_stats.psislw(-column)[1]) for column in log_w.T]
    np.testing.assert_allclose(pareto_k(log_w), theirs, rtol=1e-6)


@pytest.mark.parametrize("scale", [3, 30, 300, 1e3, 1e4, 1e6])
def test_weights_that_lie_very_far_apart_are_not_trusted(scale: float) -> None:
    """Nearly all of them are zero beside the largest."""
    log_w = scale * np.random.default_rng(0).normal(size=(1000, 20))
    assert (pareto_k(log_w) > 0.7).all()


def test_ties_at_the_cutoff_do_not_hide_a_heavy_tail() -> None:
    """As of a discrete guide with few paths: 60 of the 94 draws of the tail tie."""
    rng = np.random.default_rng(5)
    log_w = np.r_[rng.normal(-20, 3, 880), np.full(86, -12.0), 3 * rng.normal(size=34)]
    assert pareto_k(log_w[:, None])[0] > 0.7


def test_only_large_weights_are_dangerous():
    heavy = -1.5 * np.log(np.random.default_rng(2).random((1000, 20)))
    assert pareto_k(heavy).min() > 0.7
    assert pareto_k(-heavy).max() < 0.5


def test_k_ignores_the_normalising_constant():
    log_w = np.random.default_rng(3).normal(size=(500, 3)) * 2
    assert pareto_k(log_w - 1e5) == pytest.approx(pareto_k(log_w), abs=1e-6)


def test_degenerate_weights():
    columns = {
        "equal": (np.zeros(1000), 0.0),
        "rounding": (-3e4 + 1e-4 * np.random.default_rng(0).random(1000), 0.0),
        "one draw has all": (np.r_[np.zeros(999), 50.0], np.inf),
        "all but one are zero": (np.r_[np.full(999, -np.inf), 0.0], np.inf),
        "a few ties": (np.r_[np.zeros(900), np.ones(100)], 0.0),
        "a few heavy ones": (np.r_[np.zeros(995), np.linspace(10, 11.2, 5)], np.inf),
        "no weight": (np.full(1000, -np.inf), np.inf),
        "not a number": (np.r_[np.zeros(999), np.nan], np.inf),
    }
    k = pareto_k(np.stack([column for column, _ in columns.values()], 1))
    assert dict(zip(columns, k, strict=True)) == {name: e for name, (_, e) in columns.items()}


def test_gaps_are_per_frame_of_each_sequence():
    log_w = np.array([[0.0, 0.0], [2.0, 2.0]])
    long, short = gap_per_frame(log_w, np.array([8, 2]))
    assert short == pytest.approx(4 * long)
    assert long > 0


def test_gap_of_two_draws():
    log_w = np.log(np.array([[1.0], [3.0]]))
    expected = (np.log(2) - np.log(3) / 2) / 4
    assert gap_per_frame(log_w, np.array([4])) == pytest.approx([expected])


@pytest.mark.parametrize("log_w", [np.zeros(100), np.zeros((10, 2)), np.zeros((0, 2))])
def test_weights_of_a_wrong_shape_are_refused(log_w):
    with pytest.raises(UsageError, match=r"expected \(draws|are too few"):
        pareto_k(log_w)


def test_verdict_names_the_sequences_and_shortens_long_lists():
    k = np.zeros(40)
    k[[3, 17]] = 0.9, np.inf
    assert "38 of 40 sequences; k-hat > 0.7 on: 3, 17. " in verdict(k)
    k[:] = 0.9
    k[0] = 0.1
    assert "k-hat > 0.7 on: 1, 2, 3, 4, 5, 6, 7, 8 and 31 more. " in verdict(k)
    assert "on 0 of 3 sequences; k-hat > 0.7 on: all of them." in verdict(np.full(3, np.nan))


def test_verdict_warns_of_few_draws():
    assert "on: 9. " in verdict(np.array([0.1, 0.9, 0.2]), rows=np.array([4, 9, 20]))
    assert "unreliable below 1000" in verdict(np.zeros(2), draws=200)
    assert "unreliable" not in verdict(np.zeros(2), draws=1000)
