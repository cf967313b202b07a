"""Cycle terms: how well observations and latents return from each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.game import frame_mean
from pyrodgm.objectives.pairs import Pair, PairGame

CycleKind = Literal["l1", "l2", "likelihood"]
Weight = Annotated[float, Field(ge=0)]
DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {"l1": torch.abs, "l2": torch.square}


@dataclass(frozen=True)
class Cycle:
    r"""What observations and latents lose on their way to each other and back.

    .. math::
        C_x = E_{q(x, z)}\, E_{p(x' \mid z)}\, d(x, x'), \qquad
        C_z = E_{p(x, z)}\, E_{q(z' \mid x)}\, d(z, z')

    with d the mean over features of absolute ("l1") or squared ("l2") differences, in the units of
    the data. "likelihood" is in nats, and needs densities instead of draws:

    .. math:: C_x = -E_{q(x, z)} \log p(x \mid z), \qquad C_z = -E_{p(x, z)} \log q(z \mid x)

    Args:
        kind: "l1", "l2" or "likelihood".
        weight: of :math:`C_x`.
        latent_weight: of :math:`C_z`; that of :math:`C_x` if not given.
    """

    kind: CycleKind
    weight: float
    latent_weight: float | None = None

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of both terms."""
        return self.weight, self.weight if self.latent_weight is None else self.latent_weight

    def refuse(self, model: Model, guide: Guide) -> None:
        """Raise where a likelihood is needed that is not known.

        Raises:
            CompatibilityError: model or guide has no density.
        """
        options = zip(("cycle_weight", "latent_cycle_weight"), self.weights, strict=True)
        for owner, (option, weight) in zip((model, guide), options, strict=True):
            if self.kind == "likelihood" and weight and owner in without_density(model, guide):
                raise CompatibilityError(
                    f"cycle is 'likelihood', but {type(owner).__name__} has no density; take "
                    f"objective.cycle=l2 or l1, or objective.{option}=0"
                )

    def loss(
        self, game: PairGame, q: Pair, p: Pair, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted terms of a batch, a scalar, and both for the report.

        Args:
            game: with model and guide.
            q: data, and latents of the guide.
            p: latents of the prior, and observations of the model.
            batch: the data.
        """
        of_x, of_z = self.weights
        total, report = batch.x.new_zeros(()), {}
        for weight, name, term in (
            (of_x, f"cycle_{self.kind}", self._of_x),
            (of_z, f"latent_cycle_{self.kind}", self._of_z),
        ):
            if weight:
                found = frame_mean(term(game, q if term == self._of_x else p, batch), batch)
                total, report[name] = total + weight * found, found.detach()
        return total, report

    def _of_x(self, game: PairGame, q: Pair, batch: Batch) -> Tensor:
        """The term of observations, (1, B, T)."""
        if self.kind == "likelihood":
            (name,) = game.model.observed
            return -score(game.model, batch, q.latents)[name]
        return DISTANCES[self.kind](game.reconstructed(q, batch) - q.x).mean(-1)

    def _of_z(self, game: PairGame, p: Pair, batch: Batch) -> Tensor:
        """The term of latents, (1, B, T)."""
        drawn = observed(p, batch)
        if self.kind == "likelihood":
            return -torch.stack([*score(game.guide, drawn, p.latents).values()]).sum(0)
        again = draw(game.guide, drawn).values
        apart = torch.cat([again[name] - z for name, z in p.latents.items()], -1)
        return DISTANCES[self.kind](apart).mean(-1)


def observed(pair: Pair, batch: Batch) -> Batch:
    """The observations of pairs in the place of those of a batch."""
    return Batch(pair.x[0], batch.mask, batch.index, conditions=batch.conditions)


def without_density(model: Model, guide: Guide) -> list[Model | Guide]:
    """Those of model and guide whose density is not known."""
    unknown = [model] if model.traits.density != "normalised" else []
    return [*unknown, *([] if guide.traits.has_density else [guide])]
