"""The only place where names become objects: data, model, guide and objective."""

from __future__ import annotations

from pyrodgm import compat, registry
from pyrodgm.config import RunConfig
from pyrodgm.data import load
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.objectives import Objective
from pyrodgm.seeds import seed_everything


def build_data(config: RunConfig) -> Splits:
    """The dataset of a configuration.

    Raises:
        DataError: it cannot be read.
    """
    return load(config.data.name, **config.data.options)


def build_objective(config: RunConfig, info: DataInfo) -> Objective:
    """Model, guide and objective of a configuration, freshly initialised from its seed.

    Args:
        config: the configuration.
        info: the data's facts.

    Raises:
        CompatibilityError: the three do not fit together.
        DataError: the model cannot score such data.
    """
    seed_everything(config.fit.seed)
    model = registry.find("model", config.model.name)(info, **config.model.options)
    guide = registry.find("guide", config.guide.name)(info, **config.guide.options)
    objective = registry.find("objective", config.objective.name)
    compat.check(model, guide, objective)
    return objective(model, guide, **config.objective.options)
