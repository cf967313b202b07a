"""The verb `terms`: log-probabilities of draws from a guide, under model and guide, by site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.draws import draw, factors, pair_factors
from pyrodgm.engine.factors import Factors
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.rollout import Surrogate

LogQ = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Terms:
    r"""Log-probabilities by site of K draws from the guide, in nats, zero where a frame is padding.

    An objective is a sum over some of them. With :math:`l = \log p(x, z) - \log q(z \mid x)` by
    frame, the gradient of an expectation of it is that of `direct` + cost x `log_score`.

    Args:
        p: the model's, of every latent and observed site, (K, B, T); also of the auxiliary sites of
            a guide, by its reverse model.
        q: the guide's, of every site that it draws, (K, B, T).
        path: terms of q for pathwise draws, whose gradient flows through the draws, (K, B, T).
        score: terms of q for scored draws, whose gradient is the score, (K, B, T). They are without
            the scale of subsampled plates and of `poutine.scale`, because the cost that they are
            multiplied with includes it.
        values: what was drawn, by site, (K, B, T, D).
        mask: True where a frame is data, (B, T).
        x: what was observed in each frame, (B, T, D); None where frames differ in kind.
        drawn_from: the guide's distribution of every value, by site, batch shape (K, B, T) or one
            that expands to it; empty where it is not known.
        prior_of: the model's distribution of every latent, given what was drawn before it; as
            `drawn_from`.
        kl_weights: of the KL terms of the guide's sites in `cost` and `direct`, scalars; 1 for
            sites that are not named.
    """

    p: Mapping[str, Tensor]
    q: Mapping[str, Tensor]
    path: Mapping[str, Tensor]
    score: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    mask: Tensor
    x: Tensor | None
    drawn_from: Mapping[str, TorchDistribution] = field(default_factory=dict)
    prior_of: Mapping[str, TorchDistribution] = field(default_factory=dict)
    kl_weights: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def log_p(self) -> Tensor:
        """The model's joint log-probability, log p(x, z), (K, B, T)."""
        return self.total(self.p)

    @cached_property
    def log_q(self) -> Tensor:
        """The guide's, log q(z | x), (K, B, T)."""
        return self.total(self.q)

    @property
    def log_w(self) -> Tensor:
        """Log importance weights by frame, log p - log q, (K, B, T)."""
        return self.log_p - self.log_q

    @property
    def cost(self) -> Tensor:
        r"""What is learnt, by frame, (K, B, T): `log_w` with weights of the KL terms.

        .. math:: \log p(x \mid z) - \sum_i w_i\, [\log q(z^i \mid \cdot) - \log p(z^i \mid \cdot)]
        """
        return self._learnt(self.q)

    @property
    def direct(self) -> Tensor:
        """The terms of `cost` to differentiate as they stand, (K, B, T): without the scored log q.

        The gradient of a scored site's own log q has mean zero and only adds variance.
        """
        return self._learnt(self.path)

    def _learnt(self, q: Mapping[str, Tensor]) -> Tensor:
        """Log p less the given terms of the guide, by the weights of their sites."""
        if not self.kl_weights:
            return self.log_p - self.total(q)
        p, q = (
            {name: self.kl_weights.get(name, 1.0) * nats for name, nats in parts.items()}
            for parts in (self.p, q)
        )
        return self.total(p) - self.total(q)

    @property
    def log_score(self) -> Tensor:
        """The log-probability whose gradient is the score of the draws, (K, B, T)."""
        return self.total(self.score)

    @property
    def kl(self) -> dict[str, Tensor]:
        """The terms of KL(q, p) of every latent site, log q - log p, (K, B, T)."""
        return {name: self.q[name] - self.p[name] for name in self.q if name in self.p}

    def slopes(self) -> dict[str, Tensor]:
        """The derivatives of the cost of all frames with respect to the values, (K, B, T, D).

        The values must be leaves that require gradients.
        """
        leaves = tuple(self.values.values())
        found = torch.autograd.grad(
            self.cost.sum(), leaves, retain_graph=True, materialize_grads=True
        )
        return dict(zip(self.values, found, strict=True))

    @property
    def particles(self) -> int:
        """Number of draws K."""
        return len(self._zero)

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The sum over sites of some of the terms, (K, B, T); zero where there are none."""
        with torch.enable_grad():  # the sum is stored, and its first use may be without gradients
            return sum(parts.values(), self._zero)

    def by_name(self) -> dict[str, Tensor]:
        """Every term by its name in messages: ``p(z)``, ``p(x)``, ``q(z)``; without gradients."""
        p = {f"p({name})": value.detach() for name, value in self.p.items()}
        return p | {f"q({name})": value.detach() for name, value in self.q.items()}

    def report(self) -> dict[str, Tensor]:
        """The evidence lower bound of these draws, in nats per frame."""
        frames = self.mask.sum() * self.particles
        return {"elbo_nats_per_frame": self.log_w.detach().sum() / frames}

    @cached_property
    def _zero(self) -> Tensor:
        for part in (*self.p.values(), *self.q.values()):
            return torch.zeros_like(part)
        return torch.zeros(1, *self.mask.shape, device=self.mask.device)


def terms(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    particles: int = 1,
    *,
    pathwise: bool = True,
    surrogate: Surrogate | None = None,
) -> Terms:
    """Log-probabilities by site of K draws from the guide.

    Args:
        model: the model p.
        guide: the guide q, over the same latent sites.
        batch: B sequences of T frames.
        particles: number of draws K.
        pathwise: whether gradients flow through draws that can carry them.
        surrogate: gives what the guide's other sites are drawn from, so that theirs do; see
            `pyrodgm.engine.draws.draw`.

    Raises:
        CompatibilityError: the two do not draw the same latent sites.
    """
    p, q = pair_factors(model, guide, batch, particles, pathwise=pathwise, surrogate=surrogate)
    return _of_factors(p, q, batch, particles)


def estimated_terms(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    particles: int,
    log_q: LogQ,
) -> Terms:
    """Log-probabilities by site of K draws from a guide whose own are estimated, as by a critic.

    All draws carry gradients, and the guide's density is not evaluated, whether it has one or not.

    Args:
        model: the model p.
        guide: the guide q, over the same latent sites; its draws carry gradients.
        batch: B sequences of T frames.
        particles: number of draws K.
        log_q: gives the guide's estimated log-probabilities by site, (K, B, T), zero where a frame
            is padding, from the values and from the model's log-probabilities by site.

    Raises:
        CompatibilityError: the two do not draw the same latent sites.
    """
    values = draw(guide, batch, particles).values
    shape = (particles, batch.size, batch.length)
    found = factors(model, batch, values)
    p = {name: factor.log_prob.expand(shape) for name, factor in found.items()}
    q = log_q(values, p)
    return Terms(p=p, q=q, path=q, score={}, values=values, mask=batch.mask, x=batch.x)


def scored_terms(
    model: Callable[[Batch], Any],
    guide: Callable[[Batch], Any],
    batch: Batch,
    values: Mapping[str, Tensor],
    encoded: Tensor | None = None,
) -> Terms:
    """Log-probabilities by site of given values of the latents, drawn without gradients.

    Where values are leaves that require gradients, those of log-probabilities flow to them.

    Args:
        model: the model p.
        guide: the guide q, over the same latent sites.
        batch: B sequences of T frames.
        values: of every latent site, (K, B, T, D).
        encoded: the guide's features of the batch for these values, as of `path_terms`.
    """
    particles = max((len(value) for value in values.values()), default=1)
    p = factors(extended(model, guide), batch, values)
    q = factors(guide, batch, values, encoded=encoded)
    return _of_factors(p, q, batch, particles)


def path_terms(
    model: nn.Module,
    guide: nn.Module,
    batch: Batch,
    values: Mapping[str, Tensor],
    encoded: Tensor | None = None,
) -> Terms:
    r"""Log-probabilities by site of given draws, where log q has the gradient of its draws alone.

    What is left out, :math:`\nabla_\phi \log q_\phi(z \mid x)` at fixed z, has mean zero.

    Args:
        model: the model p.
        guide: the guide q, over the same latent sites.
        batch: B sequences of T frames.
        values: of every latent site, (K, B, T, D), draws from the guide that carry gradients.
        encoded: the guide's features of the batch for these draws, see `Draws`; if they are not
            given, they are computed again, and a guide that drops units drops others.
    """
    particles = max((len(value) for value in values.values()), default=1)
    encoded = None if encoded is None else encoded.detach()
    with frozen([*model.parameters(), *guide.parameters()]):
        q = factors(guide, batch, values, encoded=encoded)
    p = factors(extended(model, guide), batch, values)
    found = _of_factors(p, q, batch, particles)
    return replace(found, path=found.q, score={})


def _of_factors(of_model: Factors, of_guide: Factors, batch: Batch, particles: int) -> Terms:
    shape = (particles, batch.size, batch.length)
    q = {name: factor.log_prob.expand(shape) for name, factor in of_guide.items()}
    return Terms(
        p={name: factor.log_prob.expand(shape) for name, factor in of_model.items()},
        q=q,
        path={name: q[name] for name, factor in of_guide.items() if factor.pathwise},
        score={
            name: factor.log_score.expand(shape)
            for name, factor in of_guide.items()
            if not factor.pathwise
        },
        values={name: factor.value for name, factor in of_guide.items()},
        mask=batch.mask,
        x=batch.x,
        drawn_from={name: factor.distribution for name, factor in of_guide.items()},
        prior_of={
            name: factor.distribution for name, factor in of_model.items() if name in of_guide
        },
    )
