"""Observations of a model drawn so that they carry gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pyrodgm.distributions import straight_through
from pyrodgm.distributions.surrogates import MeanFieldBits
from pyrodgm.engine.rollout import Surrogate
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.models.base import Model, StepModel
from pyrodgm.models.implicit import Generator

Pixels = Literal["straight-through", "means"]
PIXELS: Mapping[Pixels, Surrogate] = {"straight-through": straight_through, "means": MeanFieldBits}


def drawable(model: Model) -> StepModel | Generator:
    """A model whose draws carry gradients.

    Raises:
        CompatibilityError: it is another.
    """
    if isinstance(model, StepModel | Generator):
        return model
    raise CompatibilityError(
        f"games on pairs need draws of observations that carry gradients, but "
        f"{type(model).__name__} is neither a StepModel nor a Generator; derive it from one of them"
    )


def surrogate_of(model: Model, pixels: Pixels | None) -> Surrogate:
    """What the bits of a model's observations are drawn from, so that they carry gradients.

    Args:
        model: the model p.
        pixels: "straight-through" or "means"; None for means if the data is grey, and otherwise
            straight-through.

    Raises:
        UsageError: pixels are given, and the data has no bits.
    """
    kind = model.info.kind
    if pixels is not None and kind not in ("binary", "unit"):
        raise UsageError(
            f"pixels is '{pixels}', which is for binary or grey data, but the data is {kind}; "
            "leave it out"
        )
    return PIXELS[pixels or ("means" if kind == "unit" else "straight-through")]
