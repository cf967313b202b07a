"""Adversarial variational Bayes: the evidence lower bound of a guide without a density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import Terms, estimated_terms
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.validation import ADVERSARIAL_ESTIMATE, Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.critics import InnerProductCritic, JointCritic
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.quadratic_critic import QuadraticCritic
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.critic_term import (
    AdaptiveContrast,
    Contrast,
    CriticTerm,
    PriorContrast,
    Values,
)
from pyrodgm.objectives.divergences import DIVERGENCES, DivergenceName
from pyrodgm.objectives.game import (
    Game,
    accuracy,
    degenerates,
    explodes,
    frame_mean,
    per_sequence,
)
from pyrodgm.objectives.kl import KLTerm
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.schedule import NonNegative
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.targets import Targets

MOMENT_DRAWS = 32
VALIDATION_DRAWS = 10_000  # over all sequences, at least one for each
Size = Annotated[int, Field(ge=1)]


@final
class AVB(Game):
    r"""Adversarial variational Bayes of rows: a critic T stands for the guide's density.

    .. math::
        \text{critic: } & \min_T \; E_q\, \mathrm{softplus}(-T(x, z))
            + E_r\, \mathrm{softplus}(T(x, z)) \\
        \text{model and guide: } & \max_{p, q} \; E_q[\log p(x, z) - \log \hat q(z \mid x)], \qquad
            \log \hat q(z \mid x) = \log r(z \mid x) + T(x, z)

    where r is the prior p(z), so that the second line is
    :math:`E_q[\log p(x \mid z) - T(x, z)]`, or a normal distribution with the moments of q at x
    (adaptive contrast). The critic has several turns in each step, each on rows of its own.

    The gradient of the second line is that of the evidence lower bound where the critic is at its
    optimum. Algorithm 1 of the reference is misprinted: its line 8 has draws of q in both terms,
    where those of the second are draws of the prior, and its line 9 descends what is to be
    maximised. What is done here are equations 3.3 and 3.9.

    The critic's game is that of an f-divergence of q and r, all with the optimum
    :math:`T^* = \log q - \log r`: "gan" is the first line above, and "kl" is equation 5.10, whose T
    is ours plus one.

    The number reported is an estimate and no bound: a critic short of its optimum takes q for
    closer to r than it is. Weights are chosen by the log-likelihood where it can be integrated over
    a grid of one or two latents, and are otherwise the last ones.

    Args:
        model: the model p, of rows.
        guide: the guide q, with a density or without one; its draws carry gradients.
        particles: number of draws K of q, and of r.
        contrast: "prior", or "adaptive".
        contrast_particles: draws of q that adaptive contrast takes its moments of, at least 2; with
            the `bases` of an implicit guide they are shared by the rows of a batch.
        kl_weight: of :math:`\log \hat q - \log p(z)` in the second line, a number or a schedule.
        divergence: of the critic's game.
        critic: "quadratic", a quadratic function of z and an inner product of two networks, see
            `QuadraticCritic`; "inner-product" alone; or "joint", a network of x and z together.
        critic_own: whether an inner-product critic also has terms of x and of z alone, as in the
            published code.
        critic_steps: turns of the critic in each step.
        critic_dim: rectified units of every hidden layer of the critic's networks; a number is a
            single layer.
        critic_lr: learning rate of the critic; that of model and guide is fit.lr.
        critic_betas: of the critic's Adam; those of model and guide are fit.betas.

    Raises:
        UsageError: `critic_own` with another critic than "inner-product", or `contrast_particles`
            with another contrast than "adaptive".

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, equations 3.3,
    3.9 and 5.10; adaptive contrast is of the later version.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 14-16, 50-52"),)
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"continuous"}),
        reparameterised=True,
        has_density=None,
        sequential=False,
        auxiliary=False,
    )
    headline: ClassVar[str] = ADVERSARIAL_ESTIMATE
    critic: CriticTerm
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.5, 0.999), "batch_size": 128, "evaluate_every": 500}
    )

    def __init__(  # noqa: PLR0913 - the signature is the schema of the options
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Size = 1,
        contrast: Literal["prior", "adaptive"] = "prior",
        contrast_particles: Annotated[int, Field(ge=2)] = MOMENT_DRAWS,
        kl_weight: NonNegative = 1.0,
        divergence: DivergenceName = "gan",
        critic: Literal["quadratic", "inner-product", "joint"] = "quadratic",
        critic_own: bool = False,
        critic_steps: Size = 2,
        critic_dim: LayerSizes = (128, 128),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.5, 0.999),
    ) -> None:
        if critic_own and critic != "inner-product":
            raise UsageError("critic_own is for critic=inner-product: others have all terms")
        if contrast_particles != MOMENT_DRAWS and contrast != "adaptive":
            raise UsageError(
                "contrast_particles is for contrast=adaptive: the prior needs no moments; leave it "
                "out"
            )
        kinds = {
            "quadratic": QuadraticCritic,
            "inner-product": partial(InnerProductCritic, own=critic_own),
            "joint": JointCritic,
        }
        network = kinds[critic](model.info, model.latents, critic_dim)
        super().__init__(
            model,
            guide,
            CriticTerm(network, DIVERGENCES[divergence]),
            optimizer=OptimizerOptions(lr=critic_lr, betas=critic_betas),
            steps=critic_steps,
        )
        self.particles = particles
        self.contrast = contrast
        self.contrast_particles = contrast_particles
        self.kl_term = KLTerm(kl_weight, 0.0)

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, then one of model and guide together."""
        pair = Phase("model and guide", (self.model, self.guide), self.pair_loss)
        return self.critic_phase(), pair

    def contrast_of(self, batch: Batch) -> Contrast:
        """The distribution r that q is compared with on a batch."""
        if self.contrast == "prior":
            return PriorContrast(self.model, batch)
        return AdaptiveContrast(self.guide, batch, self.contrast_particles)

    def critic_loss(self, batch: Batch) -> Loss:
        """The loss of separating draws of q and of r."""
        mean = frame_mean(self.critic.loss(*self._compared(batch), batch), batch)
        return Loss(per_sequence(mean, batch), {"critic_loss": mean.detach()})

    @torch.no_grad()
    def _compared(self, batch: Batch) -> tuple[Values, Values]:
        """Draws of q and of r as the critic sees them."""
        r = self.contrast_of(batch)
        of_q = r.seen(draw(self.guide, batch, self.particles, pathwise=False).values)
        return of_q, r.draws(self.particles)

    def trace(self, batch: Batch, particles: int | None = None) -> Terms:
        """Log-probabilities of K draws of q, where those of q are estimated.

        Args:
            batch: B rows.
            particles: number of draws; by default that of training.
        """
        log_q = partial(self.critic.log_q, batch, self.contrast_of(batch))
        return estimated_terms(self.model, self.guide, batch, particles or self.particles, log_q)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the estimate of the evidence lower bound per sequence; draws carry its gradient."""
        frames = terms.mask.sum() * terms.particles
        report = {ADVERSARIAL_ESTIMATE: terms.log_w.detach().sum() / frames}
        return Loss(-sequence_mean(terms.cost), report, terms.by_name())

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The log-likelihood by quadrature where it is possible, beside the critic's estimate."""
        found = super().validate(sequences, seed=seed)
        estimate, seen = self._estimates(sequences, seed)
        right = self._accuracy(sequences, seed) if self.contrast == "adaptive" else 0.5
        self.watch.see([explodes(seen), degenerates(right)])
        return replace(found, numbers={**found.numbers, ADVERSARIAL_ESTIMATE: estimate})

    def adversarial_estimate(self, sequences: Sequences, *, seed: int = 0) -> float:
        """The estimate of the evidence lower bound by the critic, in nats per frame; no bound.

        Args:
            sequences: a split.
            seed: of the draws; the global generator is left alone.
        """
        return self._estimates(sequences, seed)[0]

    def _estimates(self, sequences: Sequences, seed: int) -> tuple[float, float]:
        """The estimate of the bound, and its KL term by the critic; nats per frame."""
        draws, total = math.ceil(VALIDATION_DRAWS / len(sequences)), np.zeros(2)
        with drawing(self.model, seed, "adversarial estimate") as device:
            for rows, part in chunks(sequences.lengths, draws, width=self.model.frame_size):
                batch = sequences.batch(rows).to(device)
                terms = self.trace(batch, part.stop - part.start)
                kl = sum(terms.kl.values(), torch.zeros(()))
                total += [float(each.double().sum()) for each in (terms.log_w, kl)]
        estimate, seen = total / (draws * sequences.num_frames)
        return float(estimate), float(seen)

    def _accuracy(self, sequences: Sequences, seed: int) -> float:
        """The share of draws of q and of r, for every frame, that the critic is right about."""
        right = 0.0
        with drawing(self.model, seed, "critic's accuracy") as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.model.frame_size):
                batch = sequences.batch(rows).to(device)
                of_q, of_r = (self.critic.ratio(z, batch) for z in self._compared(batch))
                right += float(frame_mean(accuracy(of_q, of_r), batch)) * batch.num_frames
        return right / sequences.num_frames

    def pair_loss(self, batch: Batch) -> Loss:
        """The loss of model and guide."""
        return self.estimate(self.kl_term(self.trace(batch)))
