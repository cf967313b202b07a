"""Random fields that learn together with a guide that draws their observations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.frozen import frozen
from pyrodgm.errors import ChainWarning, CompatibilityError
from pyrodgm.evaluate.likelihood.energy import validate_energy
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import drawing
from pyrodgm.guides.base import Guide
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.objectives.base import Needs, Objective
from pyrodgm.objectives.chain_health import spread_of
from pyrodgm.objectives.game import PATIENCE, Symptom, Watch, refuse_missing

COMPARED = 100  # draws that are compared
BARELY = 0.01  # squared distance between draws, relative to data, below which they barely differ


class FieldWithGuide(Objective):
    r"""A random field p, and a guide q over its observations that is trained beside it.

    .. math:: \nabla_\theta \; \mathrm{E}_{\tilde p} \phi_\theta(\tilde x)
        - \mathrm{E} \phi_\theta(x)

    is the gradient for the field, where x are draws that stand for those of the field. A subclass
    says which, and what the guide learns.

    Args:
        model: a model with an unnormalised density.
        guide: a guide over observations.

    Raises:
        CompatibilityError: the model has no potential, or the guide does not draw observations.
    """

    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}),
        has_density=None,
        density=frozenset({"unnormalised"}),
        over="observations",
        by_frame=False,
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})
    headline: ClassVar[str] = "potential_gap_nats_per_frame"

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__(model, guide)
        if not isinstance(model, EnergyModel):
            raise CompatibilityError(
                f"{type(model).__name__} has no potential; derive it from "
                "pyrodgm.models.EnergyModel"
            )
        if not isinstance(guide, ObservationGuide):
            raise CompatibilityError(
                f"guide {type(guide).__name__} does not draw observations; derive it from "
                "pyrodgm.guides.ObservationGuide"
            )
        self.field.over(self.noise)
        self.watch = Watch(ChainWarning)

    @property
    def field(self) -> EnergyModel:
        """The model, which has a potential."""
        return cast("EnergyModel", self.model)

    @property
    def noise(self) -> ObservationGuide:
        """The guide, which draws observations."""
        return cast("ObservationGuide", self.guide)

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The mean potential per frame of x (B, T, D), with gradients to the field alone.

        Those of a residual field would go to its guide too.
        """
        with frozen(self.guide.parameters()):
            return frame_mean(self.field.potential(x, batch), batch)

    def begin(self, training: Sequences) -> None:
        """Refuse missing values.

        Raises:
            DataError: values are missing.
        """
        refuse_missing(training)

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The log-likelihood or what stands in for it, see `validate_energy`.

        For real numbers there is no score: draws improve while the likelihood falls, as a field
        that learns from a few moves of draws has wells that are deeper than those of the data. Its
        likelihood in the plane, by integration, is a number beside.

        Warns:
            ChainWarning: draws of the guide barely differ, at three evaluations in a row.
        """
        with drawing(self.field, seed, "spread of draws") as device:
            rows = np.arange(COMPARED) % len(sequences)  # a single row has many draws too
            batch = sequences.batch(rows).to(device)
            spread = float(spread_of(self.field, self.noise.draw(batch), batch.mask))
        self.watch.see([_barely_differ(spread)])
        found = validate_energy(self.field, sequences, seed=seed)
        if self.field.info.kind != "real":
            return found
        return Validation(numbers=found.numbers, shown=tuple(found.numbers)[:1])


def _barely_differ(spread: float) -> Symptom | None:
    """Draws of a guide that are nearly the same."""
    if spread >= BARELY:
        return None
    return Symptom(
        "barely differ",
        f"draws of the guide barely differ: their squared distance is {spread:.2g} of that between "
        f"independent rows of the data, at {PATIENCE} evaluations in a row, so that the field "
        "learns from few states; lower fit.lr, or choose another guide",
    )


def frame_mean(nats: Tensor, batch: Batch) -> Tensor:
    """The mean over the frames of a batch, without padding."""
    return nats.masked_fill(~batch.mask, 0.0).sum() / batch.mask.sum()


def without_padding(values: Tensor, batch: Batch) -> Tensor:
    """Values of all frames that are not padding, (N, ...), of those by frame, (B, T, ...).

    Rows have none, and the device is not asked where it is.
    """
    return values.flatten(0, 1) if batch.length == 1 else values[batch.mask]


def alone(dim: int, num: int, like: Tensor) -> Batch:
    """A batch of so many rows without observations, in whose shape rows are drawn."""
    return Batch.of(torch.zeros(num, 1, dim, dtype=like.dtype, device=like.device))
