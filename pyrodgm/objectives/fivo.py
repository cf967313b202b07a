"""Filtering variational objectives: the bound of a particle filter."""

from __future__ import annotations

from typing import ClassVar, Literal, final, get_args

from pyrodgm.batch import Batch
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.marginal import run_marginal_filter
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

    Marginal weights are ratios of mixtures over all ancestors, of less variance than those given a
    particle's own:

    .. math::
        \hat p_t = \sum_k \bar W^k_{t-1}
        \frac{\sum_a W^a_{t-1} p(x_t, z^k_t \mid z^a_{t-1}, x_{<t})}
            {\sum_a W^a_{t-1} q(z^k_t \mid z^a_{t-1}, x)}

    with weights :math:`\bar W` after resampling. The bound is tighter where every frame is
    resampled (threshold above 1, as published), for the ancestor of a particle is then summed out;
    without resampling it need not be. They are for models whose frames depend on the latents of one
    frame before, and cost :math:`K^2` log-probabilities in every frame.

    Args:
        model: the sequence model p.
        guide: the sequence guide q.
        particles: per sequence, K, at least 2.
        threshold: particles are resampled if the effective sample size is below this share of K; 0
            never resamples, a value above 1 always does.
        resampling: "dropped" or "stop-gradient".
        signal: "local" (discount 0), "future" (discount 1), or the discount :math:`\gamma` itself.
        marginal: whether weights are marginal; with resampling "dropped" only.

    Raises:
        UsageError: another resampling, or marginal weights with "stop-gradient".
        CompatibilityError: marginal weights for a model that is not Markov in its latents.

    Reference: Maddison et al., Filtering variational objectives, 2017, algorithm 1; Scibior and
    Wood, 2021, for "stop-gradient"; Mnih and Rezende, Variational inference for Monte Carlo
    objectives, 2016, equation 10, for the signal; Lai, Domke and Sheldon, Variational marginal
    particle filters, 2022, for marginal weights. The published estimator has no baseline.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("filter bound", "filter bound", "Maddison et al. 2017, alg. 1"),
        Targets("marginal bound", "marginal bound", "Lai et al. 2022", "marginal=True"),
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
        marginal: bool = False,
    ) -> None:
        super().__init__(model, guide, particles=particles, threshold=threshold, signal=signal)
        if resampling not in get_args(Resampled):
            given = " or ".join(f"'{each}'" for each in get_args(Resampled))
            raise UsageError(f"resampling is {resampling!r}; give {given}")
        self.stop_gradient = resampling == "stop-gradient"
        self.marginal = marginal
        if marginal and self.stop_gradient:
            raise UsageError(
                "resampling is 'stop-gradient', which is of a particle's own ancestor; with "
                "marginal weights give 'dropped'"
            )

    def loss(self, batch: Batch) -> Loss:
        """Minus (bound + score term) per sequence."""
        run = run_marginal_filter if self.marginal else run_filter
        found = run(*self.programs(), batch, self.particles, threshold=self.threshold)
        return self.bound_loss(found, stop_gradient=self.stop_gradient)
