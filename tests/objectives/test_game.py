"""The watch over games, and how draws resemble data."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import CriticWarning, DataWarning, UsageError
from pyrodgm.evaluate.resemblance import resemblance
from pyrodgm.guides import FeedForwardImplicit, NoGuide
from pyrodgm.models import FeedForwardGenerator, Generator
from pyrodgm.objectives import AAE, ALI, GAN, WGAN
from pyrodgm.objectives.game import (
    Symptom,
    Watch,
    collapses,
    complete,
    degenerates,
    explodes,
    stalls,
    wins,
)
from pyrodgm.objectives.slope import SlopeBound

HOLES = [[[1.0], [float("nan")]], [[1.0], [1.0]], [[2.0], [3.0]], [[float("nan")], [1.0]]]
BAD = Symptom("bad", "this is bad")


def quiet(watch, *symptoms):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see(symptoms)


def test_a_symptom_is_named_once_after_three_evaluations_in_a_row():
    watch = Watch()
    for symptom in (BAD, BAD, None, BAD, BAD):
        quiet(watch, symptom)
    again = Watch()
    again.load_own_state(watch.own_state())  # as on resume
    with pytest.warns(CriticWarning, match="this is bad"):
        again.see([BAD])
    quiet(again, BAD)
    quiet(again, None)
    for _ in range(3):
        quiet(again, BAD)
    with pytest.warns(CriticWarning, match="other"):
        again.see([Symptom("worse", "the other", at_once=True)])


def test_a_distance_that_is_tiny_beside_the_kl_term_is_a_stalled_game():
    """More than two standard errors from zero, and still nothing of 390 nats a frame."""
    kept = {"frames": 4602, "kl": 390.0}
    assert stalls(0.0007, 0.0003, **kept)
    assert stalls(0.0, 0.0, **kept)
    assert not stalls(0.0007, 0.0003, frames=100, kl=0.05)  # there is nothing to see
    # Normal distributions whose means differ by one standard deviation, 1/2 nat: sees all of it.
    frames = sequences = 100
    error = (2 / sequences) ** 0.5
    assert not stalls(1.0, error, frames=frames, kl=0.5)
    assert stalls(1.0, error, frames=frames, kl=0.5 / 0.009)
    scaled = [stalls(c, c * error, frames=frames, kl=50.1) for c in (1e-4, 1e4)]
    assert [each is not None for each in scaled] == [True, True]


def test_rules_name_what_they_see():
    assert wins(0.98) is None
    assert "in 99.5% of cases" in wins(0.995).words
    assert degenerates(0.94) is None
    assert "in 97.0% of cases" in degenerates(0.97).words
    assert explodes(-2e4).at_once
    assert explodes(10.0) is None
    assert "barely differ" in collapses(0.01, 0.0, 0.0).words
    assert "only 20% of the data" in collapses(0.5, 0.2, 0.9).words
    assert collapses(0.5, 0.2, 0.1) is None  # an untrained generator
    with pytest.raises(UsageError, match="bound_by is 3, but bound is 'none'"):
        SlopeBound(by=3.0)


class Of(Generator):
    """Given points, whatever the noise."""

    def __init__(self, info, points):
        super().__init__(info, noise_dim=1)
        self.points = nn.Parameter(points)

    def generate(self, noise, batch):
        return self.points[: batch.size, None] + 0 * noise


def test_draws_resemble_data_as_the_reference_has_it():
    """Of the same distribution 1 - 2^-5 of the data have a draw nearby."""
    torch.manual_seed(0)
    info = DataInfo("points", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))
    data = torch.randn(1000, 2)
    data[500:, 0] += 30.0
    sequences = Sequences(data.numpy(), torch.ones(1000, dtype=int).numpy())

    def found(points):
        return resemblance(Of(info, points), sequences, lambda x: x)

    same = torch.randn(1000, 2)
    same[500:, 0] += 30.0
    alike = found(same)
    assert alike.draws_coverage == pytest.approx(1 - 2**-5, abs=0.04)
    assert alike.draws_spread == pytest.approx(1, rel=0.05)
    half = found(torch.randn(1000, 2))
    assert half.draws_coverage == pytest.approx(0.5, abs=0.05)
    assert half.draws_realistic > 0.9
    assert found(torch.zeros(1000, 2)).draws_spread == 0
    few = Sequences(data[:9].numpy(), torch.ones(9, dtype=int).numpy())
    assert resemblance(Of(info, same), few, lambda x: x) is None


def test_a_zero_centred_penalty_is_of_the_slopes_at_data_and_at_draws():
    bound = SlopeBound("zero-centred")
    data, draws = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    # The gradient of a square is twice its point: squared slopes of 4 and of 36.
    found = bound.excess(lambda x: x.square().sum(-1), data, draws)
    assert bound.penalises
    torch.testing.assert_close(found, torch.tensor([20.0]))


def test_games_measure_sequences_without_missing_values():
    x = np.array(HOLES).reshape(-1, 1)
    with pytest.warns(DataWarning, match="2 of 4 held-out sequences have missing values"):
        found = complete(Sequences(x, np.full(4, 2)))
    assert found.x.flatten().tolist() == [1, 1, 2, 3]
    assert complete(found) is found
    every = Sequences(x[:2], np.array([2]))
    with pytest.warns(DataWarning, match="all held-out sequences"):
        assert complete(every) is every


@pytest.mark.parametrize("kind", [GAN, ALI, AAE])
def test_missing_values_of_other_sequences_have_no_effect_on_a_game(kind):
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    holes = np.where(np.arange(120)[:, None] % 2 == 0, np.repeat(rows, 2, axis=0), np.nan)
    info = DataInfo("points", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))
    torch.manual_seed(0)
    latent = kind is not GAN
    model = FeedForwardGenerator(info, **({"latent_dim": 2} if latent else {}))
    game = kind(model, FeedForwardImplicit(model) if latent else NoGuide(model))
    whole = game.validate(Sequences(rows, np.ones(60, int)), seed=1).numbers
    with pytest.warns(DataWarning, match="60 of 120 held-out sequences"):
        found = game.validate(Sequences(holes, np.ones(120, int)), seed=1).numbers
    own = [name for name in whole if "reconstruction" not in name and "units" not in name]
    assert {name: found[name] for name in own} == pytest.approx({name: whole[name] for name in own})


def test_advice_names_what_is_not_already_so():
    info = DataInfo("points", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))
    model = FeedForwardGenerator(info)
    assert GAN(model, NoGuide(model)).advice() == ["an objective.bound", "objective wgan"]
    assert GAN(model, NoGuide(model), bound="spectral").advice() == ["objective wgan"]
    assert WGAN(model, NoGuide(model)).advice() == []
    said = collapses(0.001, 1.0, 1.0, advice=["objective wgan"]).words
    assert "more objective.critic_steps, objective wgan or a smaller learning rate may" in said
