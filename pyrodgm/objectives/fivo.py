"""Filtering variational objectives: the bound of a particle filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, final, get_args

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.filtered import Filtered, run_filter
from pyrodgm.engine.rollout import SequenceProgram
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.objectives.targets import Targets

Resampled = Literal["dropped", "stop-gradient"]


@final
class FIVO(Objective):
    r"""The bound of a particle filter with K particles and adaptive resampling.

    .. math::
        L = E \sum_t \log \hat p_t, \qquad \hat p_t = \sum_k W^k_{t-1}
        \frac{p(x_t, z^k_t \mid z^k_{<t}, x_{<t})}{q(z^k_t \mid z^k_{<t}, x)}, \qquad
        E \Big[\prod_t \hat p_t\Big] = p(x)

    so that L is a lower bound on log p(x). Draws that carry gradients are differentiated through.
    Others have the score gradient with the signal

    .. math::
        s^k_t = \log \hat p_t - \log \hat p^{-k}_t + \sum_{u > t} \gamma^{u-t} \log \hat p_u

    where :math:`\hat p^{-k}_t` replaces the particle's own ratio by the geometric mean of the
    others. For rows, and without resampling and with signal "future", this is VIMCO's unbiased
    gradient of the K-sample bound.

    Resampling has a score gradient too, of large variance. With resampling "dropped" it is ignored,
    as published: the gradient is biased. With "stop-gradient", particles keep the gradient of their
    ancestors' weights: :math:`\prod_t \hat p_t` then has an unbiased gradient of p(x) for the
    model, and the gradient is close to that of log p(x) for many particles.

    Args:
        model: the sequence model p.
        guide: the sequence guide q.
        particles: per sequence, K, at least 2.
        threshold: particles are resampled if the effective sample size is below this share of K; 0
            never resamples, a value above 1 always does.
        resampling: "dropped" or "stop-gradient".
        signal: "local" (discount 0), "future" (discount 1), or the discount :math:`\gamma` itself.

    Reference: Maddison et al., Filtering variational objectives, 2017, algorithm 1; Scibior and
    Wood, 2021, for "stop-gradient"; Mnih and Rezende, Variational inference for Monte Carlo
    objectives, 2016, equation 10, for the signal. The published estimator has no baseline.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("filter bound", "filter bound", "Maddison et al. 2017, alg. 1"),
    )
    needs: ClassVar[Needs] = Needs(sequential=True)
    headline: ClassVar[str] = "fivo_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 4,
        threshold: Annotated[float, Field(ge=0)] = 0.5,
        resampling: Resampled = "dropped",
        signal: Signal = "local",
    ) -> None:
        super().__init__(model, guide)
        if resampling not in get_args(Resampled):
            given = " or ".join(f"'{each}'" for each in get_args(Resampled))
            raise UsageError(f"resampling is {resampling!r}; give {given}")
        self.particles = particles
        self.threshold = threshold
        self.stop_gradient = resampling == "stop-gradient"
        self.discount = discount_of(signal)

    def loss(self, batch: Batch) -> Loss:
        """Minus (bound + score term) per sequence."""
        model, guide = self.model, self.guide
        if not isinstance(model, SequenceProgram) or not isinstance(guide, SequenceProgram):
            raise CompatibilityError(
                f"{type(model).__name__} with {type(guide).__name__} does not run frame by frame, "
                "which a particle filter needs; use rws or rloo"
            )
        found = run_filter(model, guide, batch, self.particles, threshold=self.threshold)
        increments = found.increments(stop_gradient=self.stop_gradient)
        surrogate = increments.sum(-1).mean()
        scored = [name for name, site in guide.latents.items() if not site.pathwise]
        if scored:
            surrogate = surrogate + self._score_term(found, increments.detach(), scored)
        report = {"fivo_nats_per_frame": increments.detach().sum() / batch.mask.sum()}
        sites = {f"p({name})": nats.detach() for name, nats in found.log_p.items()}
        sites |= {f"q({name})": nats.detach() for name, nats in found.log_q.items()}
        return Loss(-surrogate, report, sites)

    def _score_term(self, found: Filtered, increments: Tensor, scored: Sequence[str]) -> Tensor:
        """Sum of the scores of draws of some sites times their signals, per sequence."""
        with torch.no_grad():
            own = increments - without_each(found.log_weights(), found.log_ratios)
            ahead = reward_to_go(increments, self.discount) - increments
        log_q = sum((found.log_q[name] for name in scored), torch.zeros(()))
        if found.blind is not None:
            log_q = log_q.masked_fill(found.blind, 0.0)
        return ((own + ahead) * log_q).sum((0, -1)).mean()


def without_each(log_weights: Tensor, log_ratios: Tensor) -> Tensor:
    r"""The log of a weighted mean, each term in turn replaced by the geometric mean of the rest.

    .. math:: \log \Big(\sum_{j \ne k} W^j e^{l^j} + W^k e^{\bar l^{-k}}\Big), \qquad
        \bar l^{-k} = \frac1{K-1} \sum_{j \ne k} l^j

    Args:
        log_weights: normalised, (K, B, T).
        log_ratios: l, (K, B, T).

    Returns:
        For every k, (K, B, T).

    >>> even = torch.full((2, 1, 1), 0.5).log()
    >>> without_each(even, torch.tensor([1.0, 3.0]).view(2, 1, 1)).flatten().tolist()
    [3.0, 1.0]
    """
    particles = len(log_ratios)
    others = (log_ratios.sum(0) - log_ratios) / (particles - 1)
    joint = (log_weights + log_ratios).expand(particles, *log_ratios.shape)
    own = torch.eye(particles, dtype=torch.bool, device=log_ratios.device)[..., None, None]
    return torch.where(own, log_weights + others, joint).logsumexp(1)
