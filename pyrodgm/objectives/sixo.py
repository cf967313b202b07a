"""Smoothing objectives with a learned twist: the bound of a particle filter that anticipates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, final, get_args

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import simulate_like
from pyrodgm.engine.filtered import Filtered, run_filter
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.twist import followed
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.critics import FutureCritic
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.objectives.base import Loss, Phase
from pyrodgm.objectives.critic_term import logistic
from pyrodgm.objectives.filtering import FilterObjective, Particles, Threshold, by_name
from pyrodgm.objectives.optimizer import OptimizerOptions, Positive
from pyrodgm.objectives.signal import Signal
from pyrodgm.objectives.targets import Targets

Gradient = Literal["bound", "rws"]

DREAMS = 2  # of every sequence; the frames of one are apart from the latents of the other


@final
class SIXO(FilterObjective):
    r"""The bound of a twisted particle filter, whose twist is a density ratio learned from dreams.

    .. math::
        L = E \sum_t \log \hat p_t, \qquad \hat p_t = \sum_k W^k_{t-1}
        \frac{p(x_t, z^k_t \mid z^k_{<t}, x_{<t})}{q(z^k_t \mid z^k_{<t}, x)} \cdot
        \frac{r_t(z^k_t, x_{t+1:T})}{r_{t-1}(z^k_{t-1}, x_{t:T})}, \qquad r_0 = r_T = 1

    which is a lower bound on log p(x) for every positive twist r, because
    :math:`E[\prod_t \hat p_t] = p(x)`. It equals log p(x) if :math:`r_t \propto
    p(x_{t+1:T} \mid z_t)` and the guide is the posterior :math:`p(z_t \mid z_{t-1}, x_{t:T})`; the
    bound of a filter without a twist does not. The twist has a phase of its own, in which
    :math:`T_t = \log r_t` separates frames that follow latents in a draw :math:`(z', x')` of the
    model and those of another draw :math:`x''` of the same length and conditions:

    .. math::
        \min_T \; E \sum_{t < T} \mathrm{softplus}(-T_t(z'_t, x'_{t+1:T}))
            + \mathrm{softplus}(T_t(z'_t, x''_{t+1:T})), \qquad
        T^*_t = \log \frac{p(x_{t+1:T} \mid z_t)}{p(x_{t+1:T})}

    It starts as r = 1, which is `FIVO`. Model and guide follow the gradient of L with the twist
    held fixed; draws with and without gradients are treated as in `FIVO`, and the gradient of
    resampling is ignored. With gradient "rws" they follow the weights of the twisted filter,

    .. math::
        \nabla_\theta = \sum_t \sum_k W^k_t \nabla_\theta \log p(x_t, z^k_t \mid \cdot), \qquad
        \nabla_\phi = \sum_t \sum_k W^k_t \nabla_\phi \log q(z^k_t \mid \cdot)

    which are biased by the number of particles and by the error of the twist; draws carry no
    gradients then.

    Weights of a run are chosen by the filter's bound without the twist, which is what ``evaluate
    --estimator fivo`` computes: a run is a model and a guide.

    Args:
        model: the sequence model p.
        guide: the sequence guide q.
        particles: per sequence, K, at least 2.
        threshold: particles are resampled if the effective sample size is below this share of K; 0
            never resamples, a value above 1 always does.
        gradient: "bound", or "rws" for that of NAS-X.
        signal: of draws without gradients, as of `FIVO`; not for gradient "rws".
        twist_steps: turns of the twist in each step, each on two draws of the model in the shape of
            every sequence.
        twist_dim: units of the twist's recurrence, a GRU, and of the rectified layers above it; a
            number is the recurrence and a single layer of as many units.
        twist_lr: learning rate of the twist; that of model and guide is fit.lr.

    Raises:
        UsageError: another gradient, or a signal beside gradient "rws".

    Reference: Lawson, Raventos, Warrington and Linderman, SIXO: smoothing inference with twisted
    objectives, 2022, SIXO-DRE; Lawson, Li and Linderman, NAS-X: neural adaptive
    smoothing via twisting, 2023, for gradient "rws". The published estimator of the score gradient
    has no baseline.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("twisted bound", "twisted bound", "Lawson et al. 2022, SIXO-DRE"),
        Targets("ML by twist", "KL by twist", "Lawson et al. 2023", "gradient=rws"),
    )
    headline: ClassVar[str] = "sixo_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Particles = 4,
        threshold: Threshold = 0.5,
        gradient: Gradient = "bound",
        signal: Signal = "local",
        twist_steps: Annotated[int, Field(ge=1)] = 1,
        twist_dim: LayerSizes = (64, 64),
        twist_lr: Positive = 1e-3,
    ) -> None:
        super().__init__(model, guide, particles=particles, threshold=threshold, signal=signal)
        if gradient not in get_args(Gradient):
            raise UsageError(f"gradient is {gradient!r}; give 'bound' or 'rws'")
        if gradient == "rws" and signal != "local":
            raise UsageError(
                f"signal is {signal!r}, and gradient='rws' has no score gradient; leave signal out"
            )
        self.gradient: Gradient = gradient
        self.twist_steps = twist_steps
        self.twist = FutureCritic(model.info, model.latents, twist_dim)
        self.twist_options = OptimizerOptions(lr=twist_lr)

    def phases(self) -> tuple[Phase, ...]:
        """The twist's turns on dreams, then one of model and guide together on data."""
        twist = Phase(
            "twist",
            (self.twist,),
            self.twist_loss,
            optimizer=self.twist_options,
            repeats=self.twist_steps,
        )
        return twist, Phase("model and guide", (self.model, self.guide), self.pair_loss)

    def twist_loss(self, batch: Batch) -> Loss:
        """The logistic loss of telling what follows latents from what follows others."""
        model, _ = self.programs()
        with torch.no_grad():
            drawn, dreams = simulate_like(model, batch, DREAMS)
            joint = {name: z.flatten(0, 1) for name, z in drawn.items()}
            apart = {name: z.roll(1, 0).flatten(0, 1) for name, z in drawn.items()}
        ahead, counted = self.twist.encode(dreams), followed(dreams)
        each = logistic(self.twist(joint, ahead), self.twist(apart, ahead))
        total = (each * counted).sum()
        report = {"twist_loss": total.detach() / counted.sum().clamp(min=1)}
        return Loss(total / len(each), report)

    def pair_loss(self, batch: Batch) -> Loss:
        """The loss of model and guide."""
        by_weights = self.gradient == "rws"
        with frozen(self.twist.parameters()):
            found = run_filter(
                *self.programs(),
                batch,
                self.particles,
                threshold=self.threshold,
                twist=self.twist,
                pathwise=not by_weights,
            )
        return self.weighted_loss(found) if by_weights else self.bound_loss(found)

    def weighted_loss(self, found: Filtered) -> Loss:
        """Minus the log-probabilities of all frames by the filter's weights, per sequence."""
        with torch.no_grad():
            share = (found.log_weights() + found.log_ratios).softmax(0)
        log_p, log_q = (_total(each) for each in (found.log_p, found.log_q))
        if found.blind is not None:
            log_q = log_q.masked_fill(found.blind, 0.0)
        surrogate = (share * (log_p + log_q)).sum((0, -1)).mean()
        return Loss(-surrogate, self.report(found, found.increments()), by_name(found))


def _total(nats: Mapping[str, Tensor]) -> Tensor:
    """The sum over sites, (K, B, T)."""
    return torch.stack([*nats.values()]).sum(0)
