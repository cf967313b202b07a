"""Construction of data, model, guide and objective from a configuration."""

from __future__ import annotations

import inspect
from typing import Any

from pyrodgm.data import load
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import UsageError
from pyrodgm.objectives import Objective
from pyrodgm.seeds import seeded
from pyrodgm.setup import compat, registry
from pyrodgm.setup.config import Component, RunConfig


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
    model_class, guide_class, objective_class = (
        registry.find(kind, getattr(config, kind).name) for kind in ("model", "guide", "objective")
    )
    with seeded(config.fit.seed):
        model = _made("model", model_class, config.model, info, "the data's facts, info")
        guide = _made("guide", guide_class, config.guide, model, "the model")
        compat.check(model, guide, objective_class)
        return objective_class(model, guide, **config.objective.options)


def _made(kind: str, target: type, component: Component, source: Any, what: str) -> Any:
    """A model from the data's facts, or a guide from the model, with its options.

    Raises:
        UsageError: its constructor has another signature.
    """
    try:
        inspect.signature(target).bind(source, **component.options)
    except TypeError as error:
        raise UsageError(
            f"{kind} {target.__name__} cannot be made ({error}); its constructor must take {what}, "
            "and then options by keyword only"
        ) from error
    return target(source, **component.options)
