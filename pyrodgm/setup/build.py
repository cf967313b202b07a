"""Construction of data, model, guide and objective from a configuration."""

from __future__ import annotations

import inspect
from typing import Any

from pyrodgm.data import load
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import UsageError
from pyrodgm.objectives import Objective
from pyrodgm.seeds import seeded
from pyrodgm.setup import compat
from pyrodgm.setup.config import Piece, RunConfig


def build_data(config: RunConfig) -> Splits:
    """The dataset of a configuration.

    Raises:
        DataError: it cannot be read.
    """
    return load(config.data.name, **config.data.options)


def build_objective(config: RunConfig, info: DataInfo) -> Objective:
    """Model, guide and objective of a configuration, initialised from its seed.

    Args:
        config: the configuration.
        info: the data's facts.

    Raises:
        CompatibilityError: the three do not fit together.
        DataError: the model cannot score such data.
        UsageError: a constructor has another signature.
    """
    with seeded(config.fit.seed):
        model = _made("model", config.model, info, "the data's facts, info")
        guide = _made("guide", config.guide, model, "the model")
        compat.check(model, guide, config.objective.target)
        return config.objective.target(model, guide, **config.objective.options)


def _made(kind: str, piece: Piece, source: Any, what: str) -> Any:
    """A model from the data's facts, or a guide from the model, with its options.

    Raises:
        UsageError: its constructor has another signature.
    """
    try:
        inspect.signature(piece.target).bind(source, **piece.options)
    except TypeError as error:
        raise UsageError(
            f"{kind} {piece.target.__name__} cannot be made ({error}); its constructor must "
            f"take {what}, and then options by keyword only"
        ) from error
    return piece.target(source, **piece.options)
