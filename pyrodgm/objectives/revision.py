"""Revision: Markov moves that bring draws of a guide closer to a random field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from pyrodgm.batch import Batch
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.kernels import SGHMC, SGLD, Potential
from pyrodgm.engine.kernels.base import acceptance, over_state
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.guides.with_latents import GeneratorGuide
from pyrodgm.models.energy import EnergyModel


@dataclass(frozen=True)
class Revised:
    """Draws of a guide after their revision.

    Args:
        x: observations, (B, T, D).
        h: noise of a generator, (B, T, N); None for other guides.
        accepted: mean probability of acceptance; one for moves that do not reject.
    """

    x: Tensor
    h: Tensor | None
    accepted: Tensor


@dataclass(frozen=True)
class Langevin:
    r"""Moves of real numbers along the gradient of the potential, from fresh draws of the guide.

    With a generator and `latents`, the moves are of x and of its noise h together, in the augmented
    distribution :math:`p(x)\, q(h \mid x)`:

    .. math::
        \nabla_x \log p(x)\, q(h \mid x) &= \nabla_x \phi(x) + \nabla_x \log q(x, h)
            - \nabla_x \log q(x), \qquad
        \nabla_x \log q(x) \approx \nabla_x \log q(x, h^*) \\
        \nabla_h \log p(x)\, q(h \mid x) &= \nabla_h \log q(x, h)

    where :math:`h^*` is h after one more step of Langevin dynamics in :math:`q(h \mid x)`. This
    approximation is biased. Without `latents`, x alone is moved in p(x), and h is kept: it remains
    the noise that x was drawn with, and is then no draw from :math:`q(h \mid x)`. Real numbers are
    moved in standardised units.

    Args:
        kernel: `SGLD`, moved `steps` times, or `SGHMC`, whose path has as many steps.
        steps: moves.
        latents: whether the noise of a generator is moved too.

    Reference: Song and Ou, Learning neural random fields with inclusive auxiliary generators, 2018,
    section 3; their published code for points and for CIFAR-10 moves x alone.
    """

    kernel: SGLD | SGHMC
    steps: int
    latents: bool

    def __call__(self, model: EnergyModel, guide: ObservationGuide, batch: Batch) -> Revised:
        """Revised draws in the shape of a batch."""
        x, h = drawn(guide, batch)
        state, size, potential = model.codes(x), model.codes.size, self._plain(model, batch)
        if isinstance(guide, GeneratorGuide) and h is not None and self.latents:
            state, potential = torch.cat([state, h], -1), self._augmented(model, guide, batch)
        # Weights that are computed from others, as under weight normalisation, are so once.
        with frozen(model.parameters()), parametrize.cached():
            for _ in range(self.steps if isinstance(self.kernel, SGLD) else 1):
                state = self.kernel.move(state, potential).x
        h = state[..., size:] if state.shape[-1] > size else h
        x = model.codes.decoded(state[..., :size]).masked_fill(~batch.mask[..., None], 0.0)
        return Revised(x, h, x.new_ones(()))

    def _plain(self, model: EnergyModel, batch: Batch) -> Potential:
        """The potential of codes."""
        return lambda codes: model.potential_of_codes(codes, batch)

    def _augmented(self, model: EnergyModel, guide: GeneratorGuide, batch: Batch) -> Potential:
        """A function of codes and h end to end whose gradient is that of the equations."""
        size, inner = model.codes.size, SGLD(self.kernel.step, self.kernel.noise)

        def potential(both: Tensor) -> Tensor:
            codes, h = both[..., :size], both[..., size:]
            x = model.codes.decoded(codes)
            fixed = x.detach()
            again = inner.move(h.detach(), lambda h: guide.log_joint(fixed, h, batch)).x
            joint = guide.log_joint(x, h, batch) - guide.log_joint(x, again, batch)
            return model.potential_of_codes(codes, batch) + joint

        return potential


def drawn(guide: ObservationGuide, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Draws of a guide, (B, T, D), and the noise of a generator, (B, T, N), without gradients."""
    if isinstance(guide, GeneratorGuide):
        with torch.no_grad():
            return guide.joint(batch)
    return guide.draw(batch), None


@dataclass(frozen=True)
class Sweeps:
    """Moves by the conditional draws that a model has of its own, from fresh draws of the guide.

    Args:
        steps: sweeps; see `EnergyModel.gibbs`.
    """

    steps: int

    @torch.no_grad()
    def __call__(self, model: EnergyModel, guide: ObservationGuide, batch: Batch) -> Revised:
        """Revised draws in the shape of a batch."""
        x, h = drawn(guide, batch)
        for _ in range(self.steps):
            x = model.gibbs(x, batch)
        return Revised(x.masked_fill(~batch.mask[..., None], 0.0), h, x.new_ones(()))


@dataclass(frozen=True)
class Independent:
    r"""Metropolis independence sampling with the guide as proposal.

    .. math:: a = \min\Big(1, \frac{w(x')}{w(x)}\Big), \qquad w(x) = \frac{e^{\phi(x)}}{q(x)}

    Whole sequences are accepted, or frames where these are independent rows. Under the guide `vae`,
    :math:`q(x)` is replaced by :math:`q(x, h) / r(h \mid x)`: a state x has a new draw of h from r,
    and a proposal the h that it was drawn with. This leaves :math:`p(x)\, r(h \mid x)` unchanged.

    Args:
        steps: proposals.
    """

    steps: int

    @torch.no_grad()
    def __call__(
        self, model: EnergyModel, guide: ObservationGuide, batch: Batch, x: Tensor | None = None
    ) -> Revised:
        """States after their moves, from states x (B, T, D), or from draws of the guide."""
        x = guide.draw(batch) if x is None else x
        log_w = self._log_weight(model, x, guide.log_prob(x, batch), batch)
        around = batch.repeated(self.steps)  # all proposals at once: none depends on a state
        proposals, log_q = guide.weighted(around)
        weights = self._log_weight(model, proposals, log_q, around)
        accepted = []
        for new, new_w in zip(proposals.split(batch.size), weights.split(batch.size), strict=True):
            probability = acceptance(new_w - log_w)
            accept = torch.rand_like(probability) < probability
            x, log_w = new.where(over_state(accept, x), x), new_w.where(accept, log_w)
            rows = batch.mask.to(probability) if probability.dim() > 1 else probability.new_ones(1)
            accepted.append((probability * rows).sum() / rows.expand_as(probability).sum())
        return Revised(x, None, torch.stack(accepted).mean())

    def _log_weight(self, model: EnergyModel, x: Tensor, log_q: Tensor, batch: Batch) -> Tensor:
        """Log w of states: of every row, (B, T), or of every sequence, (B,)."""
        log_w = (model.potential(x, batch) - log_q).masked_fill(~batch.mask, 0.0)
        return log_w if model.traits.sequential is False else log_w.sum(-1)
