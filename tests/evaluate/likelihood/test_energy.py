"""Annealed importance sampling, and what is made of it, against exact normalisers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models.test_random_field import BITS, DICE, rows
from models.test_rbm import INFO, joint, machine, one_hot, states

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.evaluate.likelihood.annealing import annealed_draws, forward_weights, reverse_weights
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.evaluate.likelihood.energy import (
    energy_likelihood,
    validate_energy,
)
from pyrodgm.evaluate.likelihood.normaliser import Normaliser
from pyrodgm.evaluate.likelihood.pseudo import pseudo_likelihood
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import LayeredBernoulli, NoGuide, RNNGuide
from pyrodgm.models import RBM, RTRBM, SBN, EnergyModel, SequenceField

ROWS = Sequences(states(4).numpy(), np.array([4, 1, 3, 8]))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return machine()


@pytest.fixture(autouse=True)
def double():
    """Rows in double precision, as the machine is."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("temperatures", [1, 2, 7])
@torch.no_grad()
def test_forward_weights_are_unbiased(model, temperatures):
    log_w = forward_weights(model.annealing(), 100_000, temperatures)
    assert log_w.std() > 0.2
    assert_mean((log_w - model.log_normaliser()).exp(), 1.0)
    assert log_w.mean() < model.log_normaliser()


@pytest.mark.parametrize("temperatures", [1, 2, 7])
@torch.no_grad()
def test_reverse_weights_of_rows_of_the_model_are_unbiased(model, temperatures):
    p = joint(model).logsumexp(1).softmax(0)
    rows = states(4)[p.multinomial(300_000, replacement=True)]
    log_w = reverse_weights(model.annealing(), rows, temperatures)
    assert_mean((model.log_normaliser() - log_w).exp(), 1.0)
    assert log_w.mean() > model.log_normaliser()


@torch.no_grad()
def test_reverse_weights_of_any_row_give_where_forward_chains_end(model):
    """With two temperatures: the start, one move at beta = 1/2, enumerated over the start."""
    path, rows = model.annealing(), states(4)
    start = (rows @ path.base).softmax(0)
    number = (start.multinomial(200_000, replacement=True),)
    ends = one_hot(path.move(rows[number], 0.5))
    row = rows[6]
    log_w = reverse_weights(path, row.expand(100_000, -1), 2)
    own = model.potential(row[None, None], Batch.of(row[None, None]))
    found = (own.squeeze() - log_w).exp()
    error = (found.var() / len(found) + ends[:, 6].var() / len(ends)) ** 0.5
    assert abs(found.mean() - ends[:, 6].mean()) < 4.3 * error  # 2e-5
    assert 4.3 * error < 0.05 * found.mean()


def test_the_exact_log_likelihood_is_that_of_enumeration(model):
    found = energy_likelihood(model, ROWS)
    log_p = joint(model).detach().logsumexp(1).log_softmax(0)
    expected = [each.sum() for each in log_p.split(list(ROWS.lengths))]
    assert found.exact
    assert found.lower == found.upper
    assert found.lower.nats_per_frame == pytest.approx(float(log_p.mean()))
    assert found.lower.nats_per_example == pytest.approx(float(sum(expected)) / 4)
    assert bound(model, NoGuide(model), ROWS) == found.lower


def test_annealing_brackets_the_log_likelihood(model):
    """On rows of the model; the bounds come together as temperatures are added."""
    with torch.no_grad():
        p = joint(model).logsumexp(1).softmax(0)
        rows = states(4)[p.multinomial(2000, replacement=True)]
    data = Sequences(rows.numpy(), np.ones(2000, int))
    exact = energy_likelihood(model, data).lower.nats_per_frame
    widths = []
    for temperatures in (2, 50):
        given = {"estimator": "ais", "chains": 1000, "temperatures": temperatures}
        found = energy_likelihood(model, data, **given)
        slack = 5 * (found.normaliser.standard_error_lower + found.normaliser.standard_error_upper)
        assert found.lower.nats_per_frame - slack < exact < found.upper.nats_per_frame + slack
        widths.append(found.upper.nats_per_frame - found.lower.nats_per_frame)
        assert found.to_dict()["log_normaliser_nats"]["chains"] == 1000
        assert "reverse chains from the data" in found.text()
    assert widths[1] < 0.1 * widths[0]
    assert energy_likelihood(model, data, **given) == found
    assert energy_likelihood(model, data, **given, seed=1) != found


@torch.no_grad()
def test_the_pseudo_likelihood_is_that_of_enumeration(model):
    log_p = joint(model).logsumexp(1).log_softmax(0)
    number = torch.arange(16)
    flipped = torch.stack([log_p[number ^ (1 << bit)] for bit in range(4)])
    expected = (log_p - torch.logaddexp(log_p, flipped)).sum(0).mean()
    assert pseudo_likelihood(model, ROWS) == pytest.approx(float(expected))


@torch.no_grad()
@pytest.mark.parametrize("info", [BITS, DICE], ids=lambda info: info.name)
def test_the_pseudo_likelihood_of_a_sequence_changes_one_frame_at_a_time(info):
    torch.manual_seed(0)
    model = SequenceField(info, hidden_dim=3, reference="none")
    lengths, frames = np.array([3, 1, 2]), rows(info).double()
    x = frames[torch.randint(len(frames), (lengths.sum(),))]
    data = Sequences(x.numpy(), lengths)
    nats = 0.0
    for row, length in enumerate(lengths):
        batch = data.batch([row])
        for t, d in np.ndindex(length, info.dim):
            values = frames[:, d].unique()
            changed = batch.x.repeat(len(values), 1, 1)
            changed[:, t, d] = values
            each = model.potential(changed[:, None], batch).sum(-1)[:, 0]
            nats += float(each[values == batch.x[0, t, d]] - each.logsumexp(0))
    assert pseudo_likelihood(model, data) == pytest.approx(nats / lengths.sum(), rel=1e-6)


def test_the_pseudo_likelihood_weights_up_the_bits_it_looks_at():
    """Of a machine without weights every bit is alone, so that the sum is the log-likelihood."""
    info = DataInfo("bits", "binary", 40, (0.3,) * 40, 1.0, 1)
    model = RBM(info, hidden_dim=2, init_scale=0.0)
    data = Sequences(np.zeros((3, 40), np.uint8), np.ones(3, int))
    exact = energy_likelihood(model, data).lower.nats_per_frame
    assert pseudo_likelihood(model, data) == pytest.approx(exact, rel=1e-6)


@torch.no_grad()
def test_draws_are_of_the_model(model):
    drawn = annealed_draws(model.annealing(), 60_000, sweeps=60)
    assert_mean(one_hot(drawn), joint(model).logsumexp(1).softmax(0))
    shaped = sample(model, NoGuide(model), INFO, None, num=3, length=2)["x"]
    assert shaped.shape == (3, 2, 4)
    with pytest.raises(UsageError, match="frames of RBM are independent"):
        sample(model, NoGuide(model), INFO, None, num=3, length=2, prefix=1)


def test_a_single_chain_has_no_standard_error(model):
    """Warnings are errors in tests; torch warns of a standard deviation of one number."""
    given = {"estimator": "ais", "chains": 1, "temperatures": 3}
    found = energy_likelihood(model, ROWS, **given)
    assert "(standard error unknown: one chain)" in found.text()
    assert found.to_dict()["log_normaliser_nats"]["standard_error_lower"] is None
    by_frame = energy_likelihood(RTRBM(INFO, hidden_dim=2), ROWS, **given)
    assert "(standard error unknown: one chain)" in by_frame.text()


@pytest.mark.parametrize(
    ("lower", "error", "crossed"), [(5.001, 0.0, False), (5.1, 0.0, True), (5.1, 0.2, False)]
)
def test_estimates_contradict_each_other_beyond_their_errors(lower, error, crossed):
    found = Normaliser("ais", lower, 5.0, error, error, 10, 10)
    assert found.crossed == crossed


REAL = replace(INFO, kind="real")


class Bare(EnergyModel):
    """An energy by its potential alone."""

    def __init__(self, info):
        super().__init__(info)
        self.rates = torch.nn.Parameter(torch.zeros(info.dim))

    def potential(self, x, batch):
        return x @ self.rates


def of_bits(**options):
    """A bound of a model whose normaliser is known."""
    model = SBN(INFO)
    return bound(model, LayeredBernoulli(model), ROWS, **options)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (lambda m: energy_likelihood(Bare(DICE), ROWS), "Bare has no path from a known"),
        (lambda m: energy_likelihood(Bare(REAL), ROWS, estimator="exact"), "no log_normaliser"),
        (lambda m: energy_likelihood(SBN(INFO), ROWS), "SBN has no normaliser to estimate"),
        (lambda m: energy_likelihood(m, ROWS, estimator="elbo"), "'elbo' does not apply"),
        (lambda m: energy_likelihood(m, ROWS, chains=0), "give at least 1"),
        (lambda m: bound(m, NoGuide(m), ROWS, particles=3), "3 particles were requested"),
        (lambda m: bound(m, NoGuide(m), ROWS, estimator="fivo"), "'fivo' does not apply"),
        (lambda m: bound(m, NoGuide(m), ROWS, estimator="iwae", particles=9), "'iwae' does not"),
        (lambda _: of_bits(estimator="importance"), "normaliser of an energy model, and .* none"),
        (lambda _: of_bits(estimator="ais", particles=3), "ais does not draw particles"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(model, question, words):
    with pytest.raises((UsageError, CompatibilityError), match=words):
        question(model)


def test_an_energy_of_real_numbers_has_no_validation_score():
    """Its pseudo-likelihood would be that of bits, which its values are not."""
    found = validate_energy(Bare(REAL), ROWS)
    assert (found.score, found.numbers) == (None, {})


@pytest.mark.parametrize(
    "question",
    [
        lambda m, x: bound(m, NoGuide(m), x),
        lambda m, x: energy_likelihood(m, x, estimator="ais"),
        lambda m, x: pseudo_likelihood(m, x),
        lambda m, x: validate_energy(RTRBM(INFO, hidden_dim=2), x),
        lambda _, x: field(x),
    ],
)
@pytest.mark.parametrize(("value", "words"), [(np.nan, "missing values"), (0.5, "grey values")])
def test_frames_that_a_potential_does_not_score_are_refused(model, question, value, words):
    x = states(4).numpy()
    x[3, 1] = value
    with pytest.raises(DataError, match=f"{words}, and .* whose density is unnormalised"):
        question(model, Sequences(x, ROWS.lengths))


def field(x):
    """The bound of a field over sequences by its noise."""
    model = SequenceField(INFO, hidden_dim=(2, 2))
    return bound(model, RNNGuide(model, hidden_dim=2), x)
