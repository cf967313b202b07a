"""Rows above discrete latents: every value of them, and its probabilities by the formulas."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from oracles import Enumerated, bernoulli
from pyrodgm.guides import Factorised
from pyrodgm.models import VAE
from pyrodgm.networks.mlp import LEAK
from variants import INFOS, D, randomised

SIZES = {
    "bernoulli": {"latents": "bernoulli", "latent_dim": 3},
    "categorical": {"latents": "categorical", "latent_dim": 2, "classes": 3},
}


def rows_pair(kind: str, std: float = 0.8, **options) -> tuple[VAE, Factorised]:
    """A small model with a learned prior, and its guide, with networks that bend."""
    given = {"prior": "learned", **SIZES.get(kind, {}), **options}
    model = VAE(INFOS["bernoulli"], hidden_dim=(4, 3), **given)
    return randomised(model, std), randomised(Factorised(model, hidden_dim=4), std)


def leaky(a: Tensor) -> Tensor:
    """Units with slope one above zero, and LEAK below."""
    return torch.where(a > 0, a, LEAK * a)


def network(conditional: nn.Module, value: Tensor) -> Tensor:
    """The numbers that a network of leaky layers gives, by hand."""
    h = leaky(value @ conditional.first.weight.T + conditional.first.bias)
    for layer in list(conditional.between)[::2]:
        h = leaky(h @ layer.weight.T + layer.bias)
    return h @ conditional.last.weight.T + conditional.last.bias


def one_hots(variables: int, classes: int) -> Tensor:
    """Every one-hot coding of some variables end to end, (C^J, J C)."""
    eye = torch.eye(classes).double()
    chosen = itertools.product(range(classes), repeat=variables)
    return torch.stack([torch.cat([eye[c] for c in each]) for each in chosen])


def log_softmax_of(logits: Tensor, value: Tensor, classes: int) -> Tensor:
    """The log-probability of one-hot codings end to end, class by class."""
    total = 0
    for l, z in zip(logits.split(classes, -1), value.split(classes, -1), strict=True):
        total = total + torch.log((l.exp() * z).sum(-1) / l.exp().sum(-1))
    return total


class EnumeratedOnRow(Enumerated):
    """A model and its guide on one row x (D,), with terms of every value of the latents, (S, 1)."""

    @abstractmethod
    def __init__(self, model: nn.Module, guide: nn.Module, x: Tensor) -> None:
        """Set `paths`, `log_p` and `log_q`."""

    def weighted(self) -> Tensor:
        """E over pairs of draws of their self-normalised weights times log p + log q."""
        share = (self.log_w[:, None] - self.log_w).sigmoid().detach()
        pairs = (self.q[:, None] * self.q).detach() * share
        return 2 * (pairs * (self.log_p + self.log_q)).sum()

    def converged(self) -> Tensor:
        """log p(x), and E log q(z | x) under the posterior, whose probabilities are fixed."""
        posterior = self.log_p[:, 0].softmax(0).detach()
        return self.evidence() + (posterior * self.log_q[:, 0]).sum()

    def awake(self) -> Tensor:
        """E log p(x, z) under the guide, whose probabilities are fixed."""
        return (self.q.detach() * self.log_p[:, 0]).sum()

    def dreamt(self) -> Tensor:
        """E log q(z | x) over all rows x of bits and all z of the model, probabilities fixed."""
        total, mass = 0, 0
        for bits in itertools.product([0.0, 1.0], repeat=D):
            dream = type(self)(self.model, self.guide, torch.tensor(bits).double())
            p = dream.log_p[:, 0].detach().exp()
            total, mass = total + (p * dream.log_q[:, 0]).sum(), mass + p.sum()
        assert math.isclose(float(mass), 1.0)
        return total


class EnumeratedRow(EnumeratedOnRow):
    """A `VAE` with bits or classes and its factorised guide on a row x (D,), over all latents."""

    def __init__(self, model: VAE, guide: Factorised, x: Tensor) -> None:
        self.model, self.guide, self.x = model, guide, x
        site = model.latents["z"]
        if site.kind == "binary":
            every = itertools.product([0.0, 1.0], repeat=site.dim)
            self.z = torch.tensor(list(every)).double()
        else:
            self.z = one_hots(site.variables, site.classes)
        self.paths = {"z": self.z[:, None]}
        self.log_p = self._log_p()[:, None]
        self.log_q = self._score(network(guide.posteriors["z"], x))[:, None]

    def _score(self, logits: Tensor) -> Tensor:
        classes = self.model.latents["z"].classes
        return log_softmax_of(logits, self.z, classes) if classes else bernoulli(logits, self.z)

    def _log_p(self) -> Tensor:
        given = bernoulli(network(self.model.decoder, self.z), self.x)
        return self._score(self.model.prior["z"]) + given
