"""Validation of games of rows: quadrature where it is exact, and reconstructions."""

from __future__ import annotations

from collections.abc import Mapping

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.latents.activity import ACTIVE, drawn_activities
from pyrodgm.evaluate.likelihood.quadrature import integrates
from pyrodgm.evaluate.likelihood.validation import Validation, validate
from pyrodgm.evaluate.prediction.reconstruction import reconstruction_error
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model

RECONSTRUCTION = "reconstruction_squared_error_per_feature"
ACTIVE_UNITS = "active_units"


def validated(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    numbers: Mapping[str, float],
    *,
    shown: tuple[str, ...],
    seed: int,
) -> Validation:
    """The validation of a game: the log-likelihood by quadrature, or nothing.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split.
        numbers: of the game, by key.
        shown: keys of those that are shown in training.
        seed: of all draws.
    """
    numbers = {**numbers, **reconstruction(model, guide, sequences, seed=seed)}
    if model.traits.density != "normalised" or not integrates(model):
        return Validation(numbers=numbers, shown=shown)
    exact = validate(model, guide, sequences, estimator="quadrature", seed=seed)
    return Validation(exact.by, exact.score, {**exact.numbers, **numbers}, shown)


def reconstruction(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> dict[str, float]:
    """The squared error of reconstructions of rows, per feature, and the number of active units."""
    error = reconstruction_error(model, guide, sequences, seed=seed).value
    active = float((drawn_activities(model, guide, sequences, seed=seed) > ACTIVE).sum())
    return {RECONSTRUCTION: error, ACTIVE_UNITS: active}
