"""Temporal machines against the enumeration of their hidden units and of short sequences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models.test_rbm import INFO, number, one_hot, states

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.evaluate.likelihood.energy import (
    energy_likelihood,
    validate_energy,
)
from pyrodgm.evaluate.likelihood.frame_energy import annealed_estimate, frame_likelihood
from pyrodgm.evaluate.likelihood.pseudo import pseudo_likelihood
from pyrodgm.guides import NoGuide
from pyrodgm.models import RTRBM, TRBM
from pyrodgm.objectives import CD

D = 3
THREE = replace(INFO, dim=D, mean=(0.2, 0.5, 0.7))


def machine(kind=RTRBM, hidden=2, *, drive=True):
    torch.manual_seed(0)
    model = kind(THREE, hidden_dim=hidden, visible_drive=drive).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def joint(model, state):
    """The log-probability of every (v, h) of a frame given the state before, as it is defined."""
    v, h = states(D), states(len(model.hidden))
    drive = 0.0 if model.visible_drive is None else model.visible_drive @ state
    visible, hidden = model.visible + drive, model.hidden + model.hidden_drive @ state
    nats = (v @ visible)[:, None] + h @ hidden + v @ model.weight.T @ h.T
    return nats - nats.logsumexp((0, 1))


def recurrent_log_p(model, x):
    """log p(x_t | x before t) of every frame of one sequence (T, D), (T,)."""
    state, found = model.start, []
    for v in x:
        of_frame = joint(model, state)[number(v)]
        found.append(of_frame.logsumexp(0))
        state = of_frame.softmax(0) @ states(len(model.hidden))  # the mean of h given v
    return torch.stack(found)


def latent_log_p(model, x):
    """log p(x) of one sequence with the hidden units of all frames summed out, a scalar."""
    h = states(len(model.hidden))
    alpha = joint(model, model.start)[number(x[0])]
    for v in x[1:]:
        moves = torch.stack([joint(model, state)[number(v)] for state in h])
        alpha = (alpha[:, None] + moves).logsumexp(0)
    return alpha.logsumexp(0)


def all_sequences(length):
    return states(D * length).unflatten(1, (length, D))


@pytest.mark.parametrize(("hidden", "drive"), [(2, True), (2, False), (4, True)])
def test_the_density_of_the_recurrent_machine_is_that_of_enumeration(hidden, drive):
    model = machine(hidden=hidden, drive=drive)
    batch = Batch.of(all_sequences(3))
    log_p = model.potential(batch.x, batch) - model.log_normalisers(batch)
    torch.testing.assert_close(log_p[77], recurrent_log_p(model, batch.x[77]))
    assert float(log_p.detach().sum(-1).logsumexp(0).exp()) == pytest.approx(1.0)


@pytest.mark.parametrize("drive", [True, False])
@torch.no_grad()
def test_the_filter_of_the_temporal_machine_gives_unbiased_densities(drive):
    model, x = machine(TRBM, drive=drive), all_sequences(3)[[77, 402]]
    exact = torch.stack([latent_log_p(model, each) for each in x])
    batch = Batch.of(x.repeat(40_000, 1, 1))
    energies = model.given(batch)
    log_w = (energies.potential(batch.x) - energies.log_normaliser()).sum(-1).view(-1, 2)
    assert log_w.std(0).min() > 0.1
    assert_mean((log_w - exact).exp(), torch.ones(2).double())
    assert (log_w.mean(0) < exact).all()


@torch.no_grad()
def test_states_continue_frame_by_frame():
    model, x = machine(), all_sequences(3)[[77]]
    all_of_them = model.states(Batch.of(x), 2)
    assert all_of_them.shape == (2, 1, 4, 2)
    state = all_of_them[0, :, 0]
    for t in range(3):
        state = model.advance(state, x[:, t])
        torch.testing.assert_close(state, all_of_them[1, :, t + 1])


@torch.no_grad()
@pytest.mark.parametrize("kind", [RTRBM, TRBM])
def test_a_chunk_goes_on_from_the_state_of_the_one_before(kind):
    model, batch = machine(kind), Batch.of(all_sequences(3)[[77, 200, 301]])
    before = model.end(batch.chunk(0, 1))
    following = replace(batch.chunk(1, 3), before=before)
    found = model.states(following, 2)
    torch.testing.assert_close(found[:, :, 0], before.states["state"].expand(2, -1, -1))
    assert model.end(following).frames == 3
    if kind is RTRBM:
        torch.testing.assert_close(found, model.states(batch, 2)[:, :, 1:])
        whole, parts = (model.given(part).log_normaliser() for part in (batch, following))
        torch.testing.assert_close(parts, whole[:, 1:])


@pytest.mark.parametrize("steps", [1, 40])
def test_the_mean_update_goes_back_through_time(steps):
    """With many sweeps it is the gradient of the log-likelihood of ragged sequences."""
    model, x = machine(), all_sequences(3)[[77, 402]]
    mask = torch.tensor([[True, True, True], [True, False, False]])
    batch = Batch(x * mask[..., None], mask, torch.arange(2))
    energies = model.given(batch)
    exact = (energies.potential(batch.x) * mask).sum()
    for row, t in mask.nonzero():
        p = joint(model, model.states(batch)[0, row, t]).detach()
        sweep = p.softmax(1) @ p.softmax(0).T
        reached = torch.linalg.matrix_power(sweep, steps)[number(x[row, t])]
        everywhere = energies.potential(states(D)[:, None, None].expand(-1, 2, 3, -1))
        exact = exact - reached @ everywhere[:, row, t]
    parameters = list(model.parameters())
    exact = gradient(exact / 2, parameters)
    if steps > 1:
        log_p = recurrent_log_p(model, x[0]).sum() + recurrent_log_p(model, x[1, :1]).sum()
        torch.testing.assert_close(gradient(log_p / 2, parameters), exact, atol=1e-3, rtol=1e-3)
    objective = CD(model, NoGuide(model), steps=steps).double()
    many = Batch(batch.x.repeat(300, 1, 1), mask.repeat(300, 1), torch.arange(600))
    samples = sample_gradients(lambda: -objective(many).surrogate, parameters, 200 // steps + 60)
    assert_mean(samples, exact)


def persistent(copies):
    """An objective with a chain for each frame of copies of two ragged sequences, and a batch."""
    model, x = machine(), all_sequences(3)[[77, 402]]
    mask = torch.tensor([[True, True, True], [True, False, False]])
    batch = Batch(x * mask[..., None], mask, torch.arange(2))
    many = Batch(batch.x.repeat(copies, 1, 1), mask.repeat(copies, 1), torch.arange(2 * copies))
    objective = CD(model, NoGuide(model), persistent=True).double()
    objective.begin(Sequences(many.x[many.mask].numpy(), many.lengths.numpy()))
    return objective, batch, many


def test_persistent_chains_in_equilibrium_have_the_gradient_of_the_log_likelihood():
    """One sweep of chains that have the distribution of their frame leaves no bias."""
    objective, batch, many = persistent(300)
    model = objective.model
    p = [joint(model, s).detach().logsumexp(1).exp() for s in model.states(batch)[0, 0, :3]]

    def surrogate():
        drawn = [states(D)[each.multinomial(600, replacement=True)] for each in p]
        objective.cache.write(many, torch.stack(drawn, 1))
        return -objective(many).surrogate

    parameters = list(model.parameters())
    log_p = recurrent_log_p(model, batch.x[0]).sum() + recurrent_log_p(model, batch.x[1, :1]).sum()
    assert_mean(sample_gradients(surrogate, parameters, 300), gradient(log_p / 2, parameters))


def test_persistent_chains_continue_for_every_frame():
    objective, batch, many = persistent(20_000)
    model = objective.model
    for _ in range(2):
        objective(many)
    reached = objective.cache.read(many).double()
    objective.eval()(many)
    assert torch.equal(objective.cache.read(many).double(), reached)  # they move in training alone
    for row, t in batch.mask.nonzero():
        p = joint(model, model.states(batch)[0, row, t]).detach()
        sweep = p.softmax(1) @ p.softmax(0).T
        expected = (sweep @ sweep)[number(batch.x[row, t])]
        assert_mean(one_hot(reached[row::2, t]), expected)


@pytest.fixture
def double():
    """Frames in double precision, as the machines are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


DATA = Sequences(all_sequences(3)[::40].flatten(0, 1).numpy(), np.array([3, 1, 7, 2] * 3))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", [RTRBM, TRBM])
def test_annealing_brackets_the_log_likelihood(kind):
    model = machine(kind)
    exact = energy_likelihood(model, DATA)
    assert exact.exact
    assert exact.lower == exact.upper
    sizes = {"estimator": "ais", "chains": 400, "temperatures": 60}
    found = energy_likelihood(model, DATA, **sizes)
    slack = 0.02 if kind is RTRBM else 0.3  # the other one has another path of hidden units
    assert found.lower.nats_per_frame < exact.lower.nats_per_frame + slack
    assert found.upper.nats_per_frame > exact.lower.nats_per_frame - slack
    assert found.upper.nats_per_frame - found.lower.nats_per_frame < 0.1
    assert found.normaliser.frames == DATA.num_frames
    assert ("drawn by a filter" in found.text()) is (kind is TRBM)
    assert energy_likelihood(model, DATA, **sizes) == found


@pytest.mark.usefixtures("double")
@torch.no_grad()
def test_the_exact_log_likelihood_and_the_pseudo_likelihood_are_those_of_enumeration():
    model = machine()
    sequences = [DATA.batch([row]).x[0] for row in range(len(DATA))]
    nats = [recurrent_log_p(model, x).sum() for x in sequences]
    found = energy_likelihood(model, DATA)
    assert found.lower.nats_per_frame == pytest.approx(float(sum(nats)) / DATA.num_frames)
    pseudo = 0.0
    for x in sequences:
        state = model.start
        for v in x:
            p = joint(model, state)
            of_rows = p.logsumexp(1)
            for bit in range(D):
                flipped = of_rows[number(v) ^ (1 << bit)]
                pseudo += float(of_rows[number(v)] - torch.logaddexp(of_rows[number(v)], flipped))
            state = p[number(v)].softmax(0) @ states(2)
    assert pseudo_likelihood(model, DATA) == pytest.approx(pseudo / DATA.num_frames)


@pytest.mark.usefixtures("double")
@torch.no_grad()
def test_the_annealed_estimate_is_close_with_long_chains():
    model = machine()
    sequences = [DATA.batch([row]).x[0] for row in range(len(DATA))]
    by_frame = torch.cat([recurrent_log_p(model, x) for x in sequences])
    exact = float(by_frame.mean())
    assert annealed_estimate(model, DATA, temperatures=4000) == pytest.approx(exact, abs=0.02)
    ends = by_frame[[0, -1]].mean()  # two frames that are spread evenly
    found = annealed_estimate(model, DATA, frames=2, temperatures=4000)
    assert found == pytest.approx(float(ends), abs=0.1)
    assert abs(float(ends) - exact) > 0.2


@torch.no_grad()
def test_forward_chains_find_a_mode_that_reverse_chains_from_the_data_do_not():
    info = replace(THREE, dim=12, mean=(0.1,) * 12)
    model = RTRBM(info, hidden_dim=11)
    for parameter in (model.hidden_drive, model.visible_drive):
        parameter.zero_()
    model.weight.fill_(3.0)
    model.hidden.fill_(-24.0)
    x = np.zeros((12, 12), np.uint8)
    x[:, 0] = 1
    data = Sequences(x, np.array([12]))
    found = frame_likelihood(model, data, chains=50, temperatures=200)
    exact = energy_likelihood(model, data, estimator="exact").lower.nats_per_frame
    assert exact == pytest.approx(found.upper.sum() / 12, rel=0.1)
    assert found.lower.sum() / 12 > -6 > -100 > exact
    estimates = [annealed_estimate(model, data, seed=seed) for seed in range(20)]
    assert np.mean(estimates) < -10


def test_weights_of_large_machines_are_chosen_by_the_annealed_estimate():
    torch.manual_seed(0)
    info = replace(THREE, dim=12, mean=(0.5,) * 12)
    model, x = RTRBM(info, hidden_dim=11), torch.rand(20, 12).round()
    data = Sequences(x.numpy(), np.array([12, 8]))
    found = validate_energy(model, data)
    assert found.by == "annealed estimate"
    assert found.score == found.numbers["annealed_nats_per_frame"] == annealed_estimate(model, data)
    assert validate_energy(model, data) == found


def test_what_there_is_not_is_refused():
    model = machine()
    with pytest.raises(CompatibilityError, match="differs from frame to frame"):
        model.log_normaliser()
    with pytest.raises(DataError, match="RTRBM scores frames of zeros and ones"):
        RTRBM(replace(THREE, has_missing=True))
