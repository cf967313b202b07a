"""Contrastive divergence against the enumeration of its k-step kernel, on 6 x 5 units."""

from dataclasses import replace

import pytest
import torch
from models.test_rbm import INFO, joint, machine, number, states

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.guides import NoGuide
from pyrodgm.objectives import CD
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from tiny import tiny_values

D, H = 6, 5
RATES = (0.2, 0.5, 0.7, 0.4, 0.6, 0.3)
SIX = replace(INFO, dim=D, mean=RATES)


def six_by_five():
    torch.manual_seed(0)
    return machine(H, SIX)


def kernel(model):
    """The probability of a sweep from every row to every row, (2^D, 2^D): sum over hidden units."""
    p = joint(model).detach()
    return p.softmax(1) @ p.softmax(0).T


def update(model, of_data, steps):
    """The expected ascent direction of k sweeps from a distribution of rows, (2^D,)."""
    reached = of_data @ torch.linalg.matrix_power(kernel(model), steps)
    return gradient((of_data - reached) @ joint(model).logsumexp(1), list(model.parameters()))


@pytest.mark.parametrize("steps", [1, 3])
def test_the_mean_update_is_that_of_the_enumerated_kernel(steps):
    model = six_by_five()
    mask = torch.arange(3) < torch.tensor([3, 1, 2])[:, None]
    batch = Batch(states(D)[20:29].reshape(3, 3, D) * mask[..., None], mask, torch.arange(3))
    rows = batch.x[mask]
    of_data = torch.bincount(number(rows), minlength=2**D).double() / 3  # per sequence
    objective = CD(model, NoGuide(model), steps=steps).double()
    many = Batch(batch.x.repeat(400, 1, 1), batch.mask.repeat(400, 1), torch.arange(1200))
    parameters = list(model.parameters())
    samples = sample_gradients(lambda: -objective(many).surrogate, parameters, 300)
    assert_mean(samples, update(model, of_data, steps))


def test_the_update_is_zero_where_the_model_is_the_distribution_of_the_data():
    model = six_by_five()
    own = joint(model).detach().logsumexp(1).softmax(0)
    other = machine(H, SIX)
    torch.testing.assert_close(own @ kernel(model), own)
    assert update(model, own, 2).abs().max() < 1e-12
    assert update(other, own, 2).abs().max() > 0.05
    objective = CD(model, NoGuide(model), steps=2).double()

    def surrogate():
        rows = states(D)[own.multinomial(1000, replacement=True)][:, None]
        return -objective(Batch.of(rows)).surrogate

    samples = sample_gradients(surrogate, list(model.parameters()), 300)
    error = samples.std(0) / len(samples) ** 0.5
    assert (samples.mean(0).abs() < 5.3 * error).all()  # 41 numbers at 2e-5, Student's t
    assert error.max() < 0.002


def test_more_sweeps_approach_the_gradient_of_the_log_likelihood():
    model = six_by_five()
    of_data = torch.full((2**D,), 2.0**-D).double()
    log_p = joint(model).logsumexp(1).log_softmax(0)
    exact = gradient(of_data @ log_p, list(model.parameters()))
    bias = [(update(model, of_data, steps) - exact).norm() / exact.norm() for steps in (1, 8, 200)]
    assert bias[0] > bias[1] > bias[2]
    assert bias[0] > 0.05
    assert bias[2] < 1e-6


def test_a_run_chooses_weights_by_the_exact_log_likelihood(tiny, tmp_path):
    values = tiny_values(tiny)
    values["model"] |= {"name": "rbm"}
    run = fit_config(resolve({**values, "objective": {"name": "cd", "steps": 2}}), tmp_path / "run")
    assert run.chosen_by == "exact"
