"""Rows of one normal latent, x = w z + c + s e, with a normal guide: all of it in closed form."""

import math

import torch
from torch import nn

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.guides import GuideTraits, ImplicitGuide
from pyrodgm.models import ModelTraits, Site, StepModel

D, SCALE = 2, 0.7
INFO = DataInfo("rows", "real", D, (0.0,) * D, 1.0, 1)
X = torch.tensor([[0.6, -1.1], [-0.4, 0.3]], dtype=torch.float64)


def linear(x):
    """As parameters."""
    return nn.Parameter(torch.tensor(x, dtype=torch.float64))


class LinearRows(StepModel):
    """Probabilistic PCA with J latents."""

    traits = ModelTraits(latents="continuous", sequential=False)

    def __init__(self, info=INFO, weight=((0.8,), (-0.5,)), centre=(0.2, -0.1), prior=1.0):
        super().__init__(info)
        self.weight, self.centre, self.prior = linear(weight), linear(centre), prior
        self.history, self.observed = 0, {"x": info.dim}
        self.latents = {"z": Site(self.weight.shape[1], "continuous")}

    def step(self, draw, past, encoded, t):
        del past, encoded, t
        zeros = torch.zeros_like(self.weight[0])
        z = draw("z", NormalVector(zeros, zeros + self.prior))
        mean = z @ self.weight.T + self.centre
        draw("x", NormalVector(mean, torch.full_like(mean, SCALE)))


class NormalOfNoise(ImplicitGuide):
    """Draws m(x) + s e, as if the density were not known."""

    traits = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, has_density=False
    )

    def __init__(self, model, slope=(0.5, -0.3), offset=0.1, log_scale=-0.4):
        super().__init__(model, noise_dim=1)
        self.slope, self.offset = linear(slope), linear(offset)
        self.log_scale = linear(log_scale)

    def mean(self, x):
        return x @ self.slope + self.offset

    def generate(self, noise, batch):
        return {"z": self.mean(batch.x)[..., None] + self.log_scale.exp() * noise}

    def log_prob(self, x, z):
        normal = torch.distributions.Normal(self.mean(x), self.log_scale.exp())
        return normal.log_prob(z[..., 0])


class ExactRatio(nn.Module):
    """log q(z | x) less the log-density of a normal r, as a critic at its optimum.

    Args:
        guide: q, whose parameters it follows.
        moments: gives mean and scale of r, in whose units z comes; the standard normal if None.
    """

    def __init__(self, guide, moments=None):
        super().__init__()
        self.guide, self.moments = (guide,), moments

    def forward(self, batch, z):
        x = getattr(batch, "x", batch)
        mean, scale = self.moments() if self.moments else (0.0, 1.0)
        log_r = torch.distributions.Normal(0.0, 1.0).log_prob(z)[..., 0]
        log_r = log_r - torch.as_tensor(scale).log().squeeze(-1)
        return self.guide[0].log_prob(x, mean + scale * z) - log_r


def exact_bound(model, guide, x):
    """The evidence lower bound of rows x (N, D) in closed form, (N,)."""
    m, s2 = guide.mean(x), (2 * guide.log_scale).exp()
    error = x - m[:, None] * model.weight[:, 0] - model.centre
    spread = s2 * model.weight[:, 0].square().sum()
    log_x = -(error.square().sum(-1) + spread) / (2 * SCALE**2)
    log_x = log_x - D * (math.log(SCALE) + 0.5 * math.log(2 * math.pi))
    kl = 0.5 * (s2 + m.square() - 1) - guide.log_scale
    return log_x - kl
