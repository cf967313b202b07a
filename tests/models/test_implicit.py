"""A generator: draws of the shape of a batch, gradients through them, and no density."""

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

import pyrodgm as dgm
from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import simulate
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import FeedForwardGenerator, Generator
from pyrodgm.objectives import ELBO, ML, Loss, Needs, Objective, Phase
from pyrodgm.setup import compat

D, N = 2, 3
INFO = DataInfo("points", "real", D, (0.0,) * D, 1.0, 2, (1.0,) * D)
BATCH = Batch(torch.zeros(3, 2, D), torch.tensor([[1, 1], [1, 1], [1, 0]]).bool(), torch.arange(3))


class Affine(Generator):
    """x = A noise + b, which is normal with mean b and covariance A A^T."""

    def __init__(self, info, *, noise_dim: int = N, latent_dim: int = 0):
        super().__init__(info, noise_dim=noise_dim, latent_dim=latent_dim)
        self.map = nn.Linear(self.noise_dim, info.dim)

    def generate(self, noise, batch):
        return self.map(noise)


class Moments(Objective):
    """The squared distance of the second moments of draws and data."""

    needs = Needs(latents=frozenset({"none"}), density=frozenset({"none"}), has_density=None)
    headline = "distance"

    def phases(self):
        return (Phase("moments", (self.model,), self.distance),)

    def distance(self, batch):
        x = self.model.draw(batch, 8)[:, batch.mask]
        moments = x.square().mean((0, 1)) - batch.x[batch.mask].square().mean(0)
        distance = moments.square().sum()
        return Loss(distance, {"distance": distance.detach()})


def test_draws_have_the_shape_of_a_batch_and_its_padding():
    x = Affine(INFO).draw(BATCH, 5)
    assert x.shape == (5, 3, 2, D)
    assert x[:, 2, 1].eq(0).all()
    assert x[:, BATCH.mask].ne(0).all()


def test_draws_have_the_distribution_that_the_map_makes():
    model = Affine(INFO)
    with torch.no_grad():
        x = model.draw(BATCH, 20_000)[:, 0, 0]
        weight, bias = model.map.weight, model.map.bias
        assert_mean(x.double(), bias.double())
        second = (x - bias)[:, :, None] * (x - bias)[:, None]
        assert_mean(second.flatten(1).double(), (weight @ weight.T).flatten().double())


def test_gradients_flow_through_draws():
    """The derivative of E |x|^2 = |b|^2 + |A|^2."""
    model = Affine(INFO)
    values = model.draw(BATCH, 20_000)[:, 0, 0]
    exact = torch.autograd.grad(values.square().sum(-1).mean(), [model.map.weight])[0]
    torch.testing.assert_close(exact, 2 * model.map.weight.detach(), atol=0.1, rtol=0)


def test_pyro_samples_the_noise_and_states_what_follows():
    model = Affine(INFO)
    with pyro.get_param_store().scope(), pyro.plate("particles", 4, dim=-3):
        nodes = poutine.trace(model).get_trace(BATCH).nodes
    assert nodes["noise"]["value"].shape == (4, 3, 2, N)
    torch.testing.assert_close(nodes["x"]["value"][:, 0], model.map(nodes["noise"]["value"])[:, 0])
    assert nodes["x"]["value"][:, 2, 1].eq(0).all()
    assert nodes["noise"]["fn"].batch_shape == (4, 3, 2)


def test_latents_are_numbers_of_the_noise_that_can_be_given():
    """Draws given z have mean A z + b and the covariance of the other noise."""
    model = Affine(INFO, latent_dim=2)
    assert sizes(model.latents) == {"z": 2}
    draws = simulate(model, BATCH, 5).values
    assert draws["z"].shape == (5, 3, 2, 2)
    assert draws["z"][:, 2, 1].eq(0).all()
    z = torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        model.map.weight.copy_(torch.tensor([[1.0, 2, 3, 0, 0], [-1, 1, 0, 2, 0]]))
        model.map.bias.fill_(4.0)
        given = {"z": z.expand(20_000, -1, -1, -1)}
        x = simulate(model, BATCH, 20_000, given=given).values["x"][:, 0, 0].double()
        weight, bias = model.map.weight.double(), model.map.bias.double()
        mean = z[0, 0, 0].double() @ weight[:, :2].T + bias
        assert_mean(x, mean)
        second = (x - mean)[:, :, None] * (x - mean)[:, None]
        assert_mean(second.flatten(1), (weight[:, 2:] @ weight[:, 2:].T).flatten())
    with pyro.get_param_store().scope():
        nodes = poutine.trace(model).get_trace(BATCH).nodes
    assert (nodes["z"]["value"].shape, nodes["noise"]["value"].shape) == ((3, 2, 2), (3, 2, N))
    with pytest.raises(UsageError, match="draws one point only; give noise_dim or latent_dim"):
        FeedForwardGenerator(INFO, noise_dim=0)
    certain = FeedForwardGenerator(INFO, noise_dim=0, latent_dim=1)
    twice = [simulate(certain, BATCH, given={"z": z[..., :1]}).values for _ in range(2)]
    torch.testing.assert_close(*twice)
    assert set(twice[0]) == {"x"}


@pytest.mark.parametrize("objective", [ML, ELBO])
def test_objectives_that_need_a_density_are_refused(objective):
    model = Affine(INFO)
    with pytest.raises(CompatibilityError, match=r"Affine has no density; .* needs one that"):
        compat.check(model, NoGuide(model), objective)


def test_a_generator_is_fitted_without_a_density_or_a_guide(save_data):
    torch.manual_seed(0)
    rows = (3 * torch.randn(40, D)).numpy()
    splits = dgm.data.load(str(save_data(train=rows, valid=rows[:8], test=rows[:8])))
    model = Affine(splits.info)
    objective = Moments(model, NoGuide(model))
    with pyro.get_param_store().scope():
        run = dgm.fit(objective, splits, steps=100, evaluate_every=50, lr=0.05, averaging=0.0)
    spread = run.model.map.weight.square().sum(-1) + run.model.map.bias.square()
    torch.testing.assert_close(spread, torch.tensor(splits.info.std).square(), atol=2, rtol=0)
