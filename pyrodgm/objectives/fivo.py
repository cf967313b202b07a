"""Filtering variational objectives: the bound of a particle filter."""

from __future__ import annotations

from typing import ClassVar, Literal, final, get_args

from pyrodgm.batch import Batch
from pyrodgm.engine.filtered import run_filter
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss
from pyrodgm.objectives.filtering import FilterObjective, Particles, Threshold
from pyrodgm.objectives.signal import Signal
from pyrodgm.objectives.targets import Targets

Resampled = Literal["dropped", "stop-gradient"]


@final
class FIVO(FilterObjective):
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
    headline: ClassVar[str] = "fivo_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Particles = 4,
        threshold: Threshold = 0.5,
        resampling: Resampled = "dropped",
        signal: Signal = "local",
    ) -> None:
        super().__init__(model, guide, particles=particles, threshold=threshold, signal=signal)
        if resampling not in get_args(Resampled):
            given = " or ".join(f"'{each}'" for each in get_args(Resampled))
            raise UsageError(f"resampling is {resampling!r}; give {given}")
        self.stop_gradient = resampling == "stop-gradient"

    def loss(self, batch: Batch) -> Loss:
        """Minus (bound + score term) per sequence."""
        found = run_filter(*self.programs(), batch, self.particles, threshold=self.threshold)
        return self.bound_loss(found, stop_gradient=self.stop_gradient)
