"""Semi-implicit guides: the bound, its growth with the noises, and unbiased weights."""

import copy
import itertools
import math

import pytest
import torch
from linear_gaussian import LinearRows, exact_bound
from torch import nn

import pyrodgm as dgm
from oracles import assert_mean, ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import SemiImplicit
from pyrodgm.guides.semi_implicit import NoisesGivenLatents
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO, IWAE, STL, TraceELBO

X = torch.tensor([[0.6, -1.1], [-0.4, 0.3]]).double()
OWN, SPREAD = 0.5, 0.6  # scale of z given the noise, and of its mean
ROWS = 4000


class Linear(nn.Module):
    """N(a x + b + c e, s^2)."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([0.5, -0.3, SPREAD]).double())

    def forward(self, features):
        mean = (features @ self.mean)[..., None] + 0.1
        return NormalVector(mean, torch.full_like(mean, OWN))


class Marginal(nn.Module):
    """What `exact_bound` reads of a normal guide: with the noise integrated out."""

    log_scale = torch.tensor(0.5 * math.log(OWN**2 + SPREAD**2)).double()

    def mean(self, x):
        return x @ torch.tensor([0.5, -0.3]).double() + 0.1


def pair(noises):
    torch.manual_seed(0)
    model = LinearRows()
    guide = SemiImplicit(model, noise_dim=1, noises=noises, hidden_dim=4).double()
    guide.posteriors["z"] = Linear()
    return model, guide


def weights(noises):
    """Log importance weights of many draws for each row, (draws, 2)."""
    model, guide = pair(noises)
    batch = Batch.of(X.repeat(ROWS, 1)[:, None])
    with torch.no_grad():
        return model, terms(model, guide, batch, 5).log_w.reshape(-1, 2)


def test_the_bound_grows_with_the_noises_to_that_of_the_mixture():
    model = LinearRows()
    exact = exact_bound(model, Marginal(), X).detach()
    bounds = [weights(noises)[1].mean(0) for noises in (2, 8, 64)]
    assert all((low < high).all() for low, high in itertools.pairwise(bounds))
    assert (bounds[-1] < exact + 0.02).all()
    torch.testing.assert_close(bounds[-1], exact, atol=0.03, rtol=0)


@pytest.mark.parametrize("noises", [2, 5])
def test_importance_weights_have_the_likelihood_as_mean(noises):
    model, log_w = weights(noises)
    exact = ppca_log_prob(model.weight, model.centre, 0.7, X).detach()
    assert_mean((log_w - exact).exp(), torch.ones(2).double())


def test_it_is_the_mixture_over_the_noises_that_is_scored():
    model, guide = pair(3)
    batch = Batch.of(X[:, None])
    found = terms(model, guide, batch, 4)
    noise, z = found.values["noise"], found.values["z"]
    each = torch.stack(
        [
            guide.posteriors["z"](torch.cat([batch.x.expand(4, -1, -1, -1), e], -1)).log_prob(z)
            for e in noise.split(1, -1)
        ]
    )
    expected = found.p["z"] + found.p["x"] - (each.logsumexp(0) - math.log(3))
    torch.testing.assert_close(found.log_w, expected)


def test_draws_of_the_reverse_model_have_its_density():
    """Means of the first and the second of three noises, against integrals over a grid."""
    _, guide = pair(3)
    line = torch.linspace(-6, 6, 61).double()
    noise = torch.cartesian_prod(line, line, line)

    def reverse(size):
        x, z = torch.tensor([0.6, -1.1]).double(), torch.tensor([1.2]).double()
        return NoisesGivenLatents(guide, x.expand(size, -1), {"z": z.expand(size, -1)})

    density = reverse(len(noise)).log_prob(noise).detach().exp() * (line[1] - line[0]) ** 3
    assert float(density.sum()) == pytest.approx(1, abs=1e-5)
    exact = (density[:, None] * noise).sum(0)
    assert_mean(reverse(200_000).sample()[:, :2], exact[:2])


def test_objectives_train_all_of_its_networks():
    splits = dgm.data.load("avb-points", copies=2)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    guide = SemiImplicit(model, noise_dim=2, noises=3, hidden_dim=4)
    twin = copy.deepcopy(guide)
    assert twin.reverse.of[0] is twin
    assert not any(name.startswith("reverse") for name in guide.state_dict())
    batch = splits.train.batch(range(8))
    for kind in (ELBO, IWAE, STL, TraceELBO):
        guide.zero_grad()
        kind(model, guide)(batch).surrogate.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in guide.parameters())


def test_pictures_are_convolved():
    info = DataInfo("bits", "binary", 16, (0.5,) * 16, 1.0, 1, image_shape=(4, 4))
    model = VAE(info, hidden_dim=4)
    guide = SemiImplicit(model, noise_dim=2, noises=2, network="conv")
    assert terms(model, guide, Batch.of(torch.ones(3, 1, 16))).log_w.shape == (1, 3, 1)


def test_a_model_with_a_site_of_its_name_is_refused():
    model = LinearRows()
    model.latents = {"noise": model.latents["z"]}
    with pytest.raises(CompatibilityError, match="LinearRows has a site 'noise'"):
        SemiImplicit(model)
