"""The only place where names become objects: data, model, guide and objective."""

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
    """Model, guide and objective of a configuration, freshly initialised from its seed alone.

    Args:
        config: the configuration.
        info: the data's facts.

    Raises:
        CompatibilityError: the three do not fit together.
        DataError: the model cannot score such data.
        UsageError: a constructor takes something else than facts and options.
    """
    with seeded(config.fit.seed):
        model = _made("model", config.model, info)
        guide = _made("guide", config.guide, info)
        objective = registry.find("objective", config.objective.name)
        compat.check(model, guide, objective)
        return objective(model, guide, **config.objective.options)


def _made(kind: str, component: Component, info: DataInfo) -> Any:
    """A model or guide from the data's facts and its options.

    Raises:
        UsageError: its constructor takes something else.
    """
    target = registry.find(kind, component.name)
    try:
        inspect.signature(target).bind(info, **component.options)
    except TypeError as error:
        raise UsageError(
            f"{kind} {target.__name__} cannot be made ({error}); its constructor takes the data's "
            "facts, info, and then options by keyword alone"
        ) from error
    return target(info, **component.options)
