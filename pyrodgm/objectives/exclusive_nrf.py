"""Random fields with an exclusive auxiliary generator, which climbs the potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.frozen import frozen
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.prediction.samples import Sampler
from pyrodgm.evaluate.samples.quality import GUIDE
from pyrodgm.guides.base import Guide
from pyrodgm.guides.with_latents import GeneratorGuide
from pyrodgm.models.base import Model
from pyrodgm.networks.mlp import FrameNorm
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.entropy import batch_norm_entropy, nearest_neighbour_entropy
from pyrodgm.objectives.field import FieldWithGuide, frame_mean, without_padding
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.targets import Targets

Found = tuple[Tensor, Tensor, Tensor]  # draws, what the guide increases per frame, its entropy
Entropy = Literal["density", "nearest-neighbour", "batch-norm", "conditional"]

WITHOUT: dict[Entropy, str] = {
    "density": "needs the density of the guide",
    "nearest-neighbour": "is for guide generator of real numbers",
    "batch-norm": "is for guide generator of real numbers with guide.batch_norm=true",
    "conditional": "is for guide generator of bits",
}


@final
class ExclusiveNRF(FieldWithGuide):
    r"""A random field and a generator that minimises the exclusive divergence to it.

    .. math::
        \theta: \; & \nabla_\theta\, \mathrm{E}_{\tilde p} \phi_\theta(\tilde x)
            - \nabla_\theta\, \mathrm{E}_{q_\phi} \phi_\theta(x) \\
        \phi: \; & \nabla_\phi \big\{ \mathrm{E}_{q_\phi} \phi_\theta(x) + H[q_\phi] \big\}

    The expectation under the field is replaced by that under the guide: the gradient of the field
    is biased, and right only where the two agree. Terms of the entropy:

    =================== ==========================================================================
    entropy             H
    =================== ==========================================================================
    density             :math:`-\mathrm{E} \log q(x)`, without bias, for guides with a density; the
                        gradient is :math:`(\phi - \log q - b) \nabla \log q`, where b is the mean
                        over the other draws of the batch
    nearest-neighbour   by the distances between the draws of a batch; consistent
    batch-norm          :math:`\sum_a \tfrac12 \log (2 e \pi \gamma_a^2)` over the normalised
                        activations of the generator, as printed; no estimate of H
    conditional         :math:`H(x \mid h)` of bits given the noise of a generator, a lower bound
    =================== ==========================================================================

    The middle two are for guide `generator` with real numbers, whose draws carry gradients, and the
    last one is for `generator` with bits.

    Args:
        model: a model with an unnormalised density, p.
        guide: a guide over observations, q.
        entropy: see the table; density if the guide has one, and else nearest-neighbour for real
            numbers, and conditional for bits.
        entropy_weight: factor of the entropy.

    Raises:
        CompatibilityError: an entropy that the guide does not have.

    Reference: Kim and Bengio, Deep directed generative models with energy-based probability
    estimation, 2016.
    """

    # With momentum its draws cover a third of the modes: docs/objectives.md.
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {**FieldWithGuide.fit_defaults, "betas": (0.0, 0.999), "lr_schedule": "cosine"}
    )
    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "KL(q, p)", "eq. 40-41"),)
    needs: ClassVar[Needs] = replace(FieldWithGuide.needs, has_entropy=True)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        entropy: Entropy | None = None,
        entropy_weight: Positive = 1.0,
    ) -> None:
        super().__init__(model, guide)
        known, name = entropies(guide), type(guide).__name__
        if not known:
            raise CompatibilityError(f"the entropy of guide {name} is not known; use generator")
        self.entropy: Entropy = entropy or known[0]
        self.entropy_weight = entropy_weight
        if self.entropy not in known:
            raise CompatibilityError(
                f"entropy is '{self.entropy}', which {WITHOUT[self.entropy]}; with {name}, give "
                f"objective.entropy={' or '.join(known)}"
            )

    def loss(self, batch: Batch) -> Loss:
        """Both gradients: of the field by data and draws, of the guide by its draws."""
        followed = {"density": self._by_density, "conditional": self._by_bits}
        x, learned, entropy = followed.get(self.entropy, self._by_path)(batch)
        own, of_draws = self.potential(batch.x, batch), self.potential(x, batch)
        name = f"{self.entropy.replace('-', '_')}_entropy_nats_per_frame"
        report = {self.headline: (own - of_draws).detach(), name: entropy.detach()}
        sites = {
            "potential of the data": own.detach(),
            "potential of draws": of_draws.detach(),
            "entropy of the guide": entropy.detach(),
        }
        frames = batch.mask.sum()
        return Loss((of_draws - own - learned) * frames / batch.size, report, sites)

    def samplers(self) -> Mapping[str, Sampler]:
        """Draws of the guide."""
        return {GUIDE: self.noise.draw}

    def _by_density(self, batch: Batch) -> Found:
        """Draws of a guide with a density, followed by their score."""
        x = self.noise.draw(batch)
        nats = self.noise.log_prob(x, batch)
        learned = self._scored(x, -self.entropy_weight * nats, nats, batch)
        return x, learned, -frame_mean(nats, batch)

    def _by_bits(self, batch: Batch) -> Found:
        """Bits of a generator: the score given their noise, and the entropy given it."""
        guide = cast("GeneratorGuide", self.guide)
        x, h = guide.joint(batch)
        bits = guide.emission(h, batch)
        entropy = frame_mean(bits.entropy(), batch)
        learned = self._scored(x, torch.zeros_like(h[..., 0]), bits.log_prob(x), batch)
        return x, learned + self.entropy_weight * entropy, entropy

    def _by_path(self, batch: Batch) -> Found:
        """Real numbers of a generator, through which gradients go."""
        guide = cast("GeneratorGuide", self.guide)
        x, _ = guide.joint(batch)
        with frozen(self.model.parameters()):
            climbed = frame_mean(self.field.potential(x, batch), batch)
        if self.entropy == "nearest-neighbour":
            rows = without_padding(x, batch)
            if len(rows) == 1:  # has no neighbour without another draw
                rows = torch.cat([rows, without_padding(guide.joint(batch)[0], batch)])
            entropy = nearest_neighbour_entropy(rows)
        else:
            entropy = batch_norm_entropy(self.guide)
        return x.detach(), climbed + self.entropy_weight * entropy, entropy

    def _scored(self, x: Tensor, beside: Tensor, log_q: Tensor, batch: Batch) -> Tensor:
        r"""A surrogate per frame with the gradient of the mean potential of draws.

        .. math:: (\phi(x) + c - b) \nabla \log q(x)

        where b is the mean of :math:`\phi + c` over the other draws: rows, or whole sequences.

        Args:
            x: draws, (B, T, D).
            beside: what is added to their potential, c, (B, T).
            log_q: log-probability of draws, (B, T).
            batch: whose shape they have.
        """
        value = (self.field.potential(x, batch) + beside).detach()
        value, log_q = (each.masked_fill(~batch.mask, 0.0) for each in (value, log_q))
        if self.field.traits.sequential is False and self.guide.traits.sequential is False:
            value, log_q = without_padding(value, batch), without_padding(log_q, batch)
        else:
            value, log_q = value.sum(1), log_q.sum(1)
        others = (value.sum() - value) / max(len(value) - 1, 1)
        return ((value - others) * log_q).sum() / batch.mask.sum()


def entropies(guide: Guide) -> tuple[Entropy, ...]:
    """The entropies of a guide, the best first."""
    if guide.traits.has_density:
        return ("density",)
    if not isinstance(guide, GeneratorGuide):
        return ()
    if guide.program.bits:
        return ("conditional",)
    normalised = any(isinstance(each, FrameNorm) for each in guide.modules())
    return ("nearest-neighbour", *(("batch-norm",) if normalised else ()))
