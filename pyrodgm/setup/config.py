"""The configuration of a run, validated as a whole; constructor signatures are its schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pyrodgm.errors import ConfigError, Mistakes, PyrodgmError, UsageError, did_you_mean
from pyrodgm.models import Form
from pyrodgm.objectives import OBJECTIVES
from pyrodgm.schema import checked, schema
from pyrodgm.setup import compat, registry
from pyrodgm.setup.options import FitOptions

GROUPS = ("model", "guide", "objective", "data", "fit")
_NAME_KEY = {"model": "name", "guide": "name", "objective": "name", "data": "source"}
_DEFAULT_MODEL = "tsbn"


@dataclass(frozen=True)
class Component:
    """A registered name (or ``/path/to/file.py:Class``, or for data a path) and its options."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Piece(Component):
    """A model, guide or objective by name, with its options and the class that was found."""

    target: type = field(repr=False, compare=False)


@dataclass(frozen=True)
class RunConfig:
    """The complete configuration of a run.

    Args:
        model: the model p.
        guide: the guide q.
        objective: what is optimised.
        data: dataset name or path.
        fit: options of the training loop.
    """

    model: Piece
    guide: Piece
    objective: Piece
    data: Component
    fit: FitOptions

    def to_toml(self) -> str:
        """The text of `config.toml`: every value, defaults included.

        Raises:
            ConfigError: a default value of a user's own class cannot be written as TOML.
        """
        groups = {}
        for group, key in _NAME_KEY.items():
            component: Component = getattr(self, group)
            groups[group] = {key: component.name, **component.options}
        return to_toml({**groups, "fit": self.fit.to_dict()})


def to_toml(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Nested values as TOML.

    >>> print(to_toml({"fit": {"steps": 5, "time_limit": None}}), end="")
    [fit]
    steps = 5
    """
    document = tomlkit.document()
    for group, options in values.items():
        table = tomlkit.table()
        for key, value in options.items():
            if value is None:  # TOML has no null; a missing key means the default
                continue
            try:
                table.add(key, list(value) if isinstance(value, tuple) else value)
            except (TOMLKitError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{group}.{key} = {value!r} cannot be written to config.toml; "
                    "options must be numbers, strings, true or false, or lists of these"
                ) from error
        document.add(group, table)
    return tomlkit.dumps(document)


def validate(
    group: str, target: Callable[..., Any], given: Mapping[str, Any], mistakes: Mistakes
) -> dict[str, Any]:
    """The options of one component: given values checked, the rest from defaults."""
    try:
        known = schema(target)
    except UsageError as error:
        mistakes.add(str(error))
        return {}
    for key in [key for key in given if key not in known]:
        hint = did_you_mean(key, known) if known else f"{target.__name__} takes no options"
        mistakes.add(f"{group}.{key}: no such option; {hint}{_others_with(group, key)}")
    for key, parameter in known.items():
        if parameter.required and key not in given:
            mistakes.add(f"{group}.{key}: missing, and it has no default")
    return {
        key: checked(f"{group}.{key}", parameter, given[key], mistakes)
        if key in given
        else parameter.default
        for key, parameter in known.items()
    }


def _others_with(group: str, key: str) -> str:
    """Which registered components of a group have an option, in words; empty if none has."""
    classes = registry.REGISTRIES[group] if group in ("model", "guide", "objective") else {}
    found = [name for name, each in classes.items() if key in schema(each)]
    return f" (it is an option of {', '.join(found)})" if found else ""


def resolve(values: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """A complete configuration from nested values, ``{"model": {"name": "tsbn"}, "fit": {...}}``.

    Missing values come from the model's companions and from constructor defaults. Paths become
    absolute.

    Raises:
        ConfigError: lists every mistake, with a hint for each.
        CompatibilityError: model, guide and objective do not fit together.
    """
    mistakes = Mistakes()
    for group in [group for group in values if group not in GROUPS]:
        mistakes.add(f"[{group}]: no such group; {did_you_mean(group, GROUPS)}")
    groups = {group: dict(values.get(group, {})) for group in GROUPS}
    given = {g: groups[g].pop(key) for g, key in _NAME_KEY.items() if key in groups[g]}
    found = {"model": _find("model", given.setdefault("model", _DEFAULT_MODEL), mistakes)}
    model = found["model"].form(groups["model"]) if found["model"] else None
    names = {**_companions(model), **given}
    if "guide" not in given and model is not None and "objective" in given:
        found["objective"] = _find("objective", given["objective"], mistakes)
        names["guide"] = compat.guide_for(model, found["objective"], names["guide"])
    components: dict[str, Any] = {}
    for group in sorted(names, key=GROUPS.index):
        target = found[group] if group in found else _find(group, names[group], mistakes)
        found[group] = target
        if target is None:
            continue
        options = validate(group, target, groups[group], mistakes)
        if group == "data" and options.get("path"):
            options["path"] = str(Path(options["path"]).expanduser().resolve())
        name = registry.absolute(group, str(names[group]))
        components[group] = (
            Component(name, options) if group == "data" else Piece(name, options, target)
        )
    given_to_fit = with_defaults(found.get("model"), found.get("objective"), groups["fit"])
    fit = validate("fit", FitOptions, given_to_fit, mistakes)
    mistakes.raise_if_any()
    if fit.get("start_from"):
        fit["start_from"] = str(Path(fit["start_from"]).expanduser().resolve())
    form = found["model"].form(components["model"].options)
    compat.check_classes(form, found["guide"], found["objective"])
    return RunConfig(**components, fit=FitOptions(**fit))


def _find(group: str, name: Any, mistakes: Mistakes) -> Any:
    """The class or loader of a name; if there is none, adds a mistake and returns None."""
    try:
        return registry.find(group, str(name))
    except PyrodgmError as error:
        mistakes.add(str(error))
        return None


def _companions(model: Form | None) -> dict[str, str]:
    """Default names of guide, objective and data of a model; empty if the model is unknown."""
    if model is None:
        return {}
    usual = compat.companions_of(model)
    return {"guide": usual.guide, "objective": usual.objective, "data": usual.data}


def with_defaults(model: object, objective: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of training, with defaults of the objective or the model for those not given.

    Args:
        model: the model or its class; anything else has no such defaults.
        objective: the objective or its class; its defaults take precedence, and those of the model
            with it before both.
        given: options by name; default betas and decay in epochs are ignored for optimisers other
            than Adam, and the decay also where a weight decay is given, such as 0 for none.
    """
    usual = {**getattr(model, "fit_defaults", {}), **getattr(objective, "fit_defaults", {})}
    companions = getattr(model, "companions", None)
    if companions and OBJECTIVES.get(companions.objective) in (objective, type(objective)):
        usual |= companions.fit
    if given.get("optimizer", "adam") != "adam":
        usual = {key: usual[key] for key in usual.keys() - {"betas", "decay_epochs"}}
    elif "weight_decay" in given:
        usual = {key: usual[key] for key in usual.keys() - {"decay_epochs"}}
    return {**usual, **given}


def fit_options(given: Mapping[str, Any]) -> FitOptions:
    """Training options from keyword arguments.

    Raises:
        ConfigError: lists every unknown option and wrong value.
    """
    mistakes = Mistakes()
    options = validate("fit", FitOptions, given, mistakes)
    mistakes.raise_if_any()
    return FitOptions(**options)
