"""One frozen configuration of a run, validated whole; constructor signatures are its schema."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import tomlkit
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pyrodgm import registry
from pyrodgm.data import find_loader
from pyrodgm.errors import ConfigError, PyrodgmError, did_you_mean
from pyrodgm.models import Model
from pyrodgm.training import FitOptions

GROUPS = ("model", "guide", "objective", "data", "fit")
_NAME_KEY = {"model": "name", "guide": "name", "objective": "name", "data": "source"}


@dataclass(frozen=True)
class Component:
    """A registered name (or ``file.py:Class``, or for data a path) and its options."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Args:
        model: the model p.
        guide: the guide q.
        objective: what is optimised.
        data: dataset name or path.
        fit: options of the training loop.
    """

    model: Component
    guide: Component
    objective: Component
    data: Component
    fit: FitOptions

    def to_toml(self) -> str:
        """The text of `config.toml`: every value, defaults included."""
        document = tomlkit.document()
        for group, key in _NAME_KEY.items():
            component: Component = getattr(self, group)
            table = {key: component.name, **component.options}
            document.add(group, _table(table))
        document.add("fit", _table(self.fit.to_dict()))
        return tomlkit.dumps(document)


def _table(values: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in values.items():
        if value is not None:  # TOML has no null; an absent key reads back as its default
            table.add(key, list(value) if isinstance(value, tuple) else value)
    return table


@dataclass(frozen=True)
class Parameter:
    """One configurable argument: its type as pydantic sees it, and its default."""

    adapter: TypeAdapter[Any]
    default: Any
    annotation: Any


def schema(target: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only arguments of a class or function, by name.

    >>> from pyrodgm.models import TSBN
    >>> sorted(schema(TSBN))
    ['hidden_dim', 'history', 'init_scale']
    """
    function = target.__init__ if isinstance(target, type) else target
    hints = get_type_hints(function, include_extras=True)
    strict = ConfigDict(strict=True)
    return {
        name: Parameter(TypeAdapter(hints[name], config=strict), argument.default, hints[name])
        for name, argument in inspect.signature(function).parameters.items()
        if argument.kind is inspect.Parameter.KEYWORD_ONLY
    }


class _Mistakes:
    """Collects every mistake, so that a user sees them all at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        self.messages.append(message)

    def raise_if_any(self) -> None:
        if len(self.messages) == 1:
            raise ConfigError(self.messages[0])
        if self.messages:
            lines = [f"{len(self.messages)} mistakes in the configuration:"]
            raise ConfigError("\n  ".join([*lines, *self.messages]))


def validate(
    group: str, target: Callable[..., Any], given: Mapping[str, Any], mistakes: _Mistakes
) -> dict[str, Any]:
    """The options of one component: given values checked, the rest from defaults."""
    known = schema(target)
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            hint = did_you_mean(key, known) if known else "it takes no options"
            mistakes.add(f"{group}.{key}: no such option; {hint}")
            continue
        try:
            options[key] = known[key].adapter.validate_python(value)
        except ValidationError as error:
            reason = "; ".join(detail["msg"] for detail in error.errors())
            mistakes.add(f"{group}.{key} = {value!r}: {reason}")
    defaults = {
        key: parameter.default
        for key, parameter in known.items()
        if key not in given and parameter.default is not inspect.Parameter.empty
    }
    for key in known.keys() - given.keys() - defaults.keys():
        mistakes.add(f"{group}.{key}: missing, and it has no default")
    return {key: {**defaults, **options}.get(key) for key in known}


def resolve(values: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """A whole configuration from nested values, ``{"model": {"name": "tsbn"}, "fit": {...}}``.

    What is not given comes from the model's companions and from constructor defaults. An option
    that the guide shares with the model, such as hidden_dim, takes the model's value.

    Raises:
        ConfigError: lists every mistake, with a hint for each.
    """
    mistakes = _Mistakes()
    for group in values.keys() - set(GROUPS):
        mistakes.add(f"[{group}]: no such group; {did_you_mean(group, GROUPS)}")
    groups = {group: dict(values.get(group, {})) for group in GROUPS}
    model_name = str(groups["model"].pop("name", "tsbn"))
    model_class = _find("model", model_name, mistakes)
    mistakes_before = len(mistakes.messages)
    names = {"model": model_name, **_companions(model_class, groups)}
    if model_class is None or len(mistakes.messages) > mistakes_before:
        mistakes.raise_if_any()
    components: dict[str, Component] = {}
    for group in ("model", "guide", "objective", "data"):
        target = model_class if group == "model" else _find(group, names[group], mistakes)
        if target is None:
            continue
        given = groups[group]
        if group == "guide" and "model" in components:
            given = _inherit(target, given, components["model"].options)
        components[group] = Component(names[group], validate(group, target, given, mistakes))
    fit = validate("fit", FitOptions, groups["fit"], mistakes)
    mistakes.raise_if_any()
    return RunConfig(**components, fit=FitOptions(**fit))


def _find(group: str, name: str, mistakes: _Mistakes) -> Any:
    """The class or loader of a name; a mistake and None where there is none."""
    try:
        return find_loader(name)[0] if group == "data" else registry.find(group, name)
    except PyrodgmError as error:
        mistakes.add(str(error))
        return None


def _companions(model: type[Model] | None, groups: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Names of guide, objective and data: as given, or as the model suggests."""
    suggested = model.companions if model is not None else None
    names: dict[str, str] = {}
    for group in ("guide", "objective", "data"):
        fallback = next(iter(registry.REGISTRIES[group]))
        default = getattr(suggested, group) if suggested else fallback
        names[group] = str(groups[group].pop(_NAME_KEY[group], default))
    return names


def _inherit(
    guide: Callable[..., Any], given: Mapping[str, Any], model_options: Mapping[str, Any]
) -> dict[str, Any]:
    shared = {key: model_options[key] for key in schema(guide) if key in model_options}
    return {**shared, **given}


def fit_options(given: Mapping[str, Any]) -> FitOptions:
    """Training options from keyword arguments.

    Raises:
        ConfigError: lists every unknown option and wrong value.
    """
    mistakes = _Mistakes()
    options = validate("fit", FitOptions, given, mistakes)
    mistakes.raise_if_any()
    return FitOptions(**options)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Nested values from a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_settings(settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Nested values from ``group.key=value`` words; values are read as TOML, else as text.

    Raises:
        ConfigError: lists every word that is not of that form.

    >>> parse_settings(["model.hidden_dim=50", "objective.signal=local"])
    {'model': {'hidden_dim': 50}, 'objective': {'signal': 'local'}}
    """
    mistakes = _Mistakes()
    values: dict[str, dict[str, Any]] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        group, dot, key = path.strip().partition(".")
        if not (equals and dot and key):
            mistakes.add(f"--set {setting}: expected group.key=value, such as model.hidden_dim=50")
            continue
        values.setdefault(group, {})[key] = _toml_value(text.strip())
    mistakes.raise_if_any()
    return values


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Nested values laid over each other, later ones on top."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for group, options in layer.items():
            if not isinstance(options, Mapping):
                raise ConfigError(
                    f"'{group}' stands alone; put it into a group: {', '.join(GROUPS)}"
                )
            merged.setdefault(group, {}).update(options)
    return merged
