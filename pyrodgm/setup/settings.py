"""Nested settings from TOML files and from arguments of the command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from pyrodgm.errors import Mistakes
from pyrodgm.storage.toml import Values

SHORT = re.compile(r"[+-]?\.\d+")  # numbers without a zero in front


def parse_settings(settings: Iterable[str]) -> Values:
    """Nested values from ``group.key=value`` words; values are read as TOML, else as text.

    True, False and None may be written as in Python too.

    Raises:
        ConfigError: lists every word that is not of that form.

    >>> parse_settings(["model.hidden_dim=50", "objective.signal=local"])
    {'model': {'hidden_dim': 50}, 'objective': {'signal': 'local'}}
    >>> parse_settings(["fit.lr=.01"])  # not a number in TOML
    {'fit': {'lr': 0.01}}
    """
    mistakes = Mistakes()
    values: Values = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        group, dot, key = path.strip().partition(".")
        if not (equals and group and dot and key):
            mistakes.add(f"--set {setting}: expected group.key=value, such as model.hidden_dim=50")
            continue
        values.setdefault(group, {})[key] = _value(text.strip())
    mistakes.raise_if_any()
    return values


PYTHON = {"True": True, "False": False, "None": None}


def _value(text: str) -> Any:
    if text in PYTHON:
        return PYTHON[text]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return float(text) if SHORT.fullmatch(text) else text


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> Values:
    """Nested values merged; later values replace earlier ones.

    >>> merge({"fit": {"lr": 0.1, "steps": 5}}, {"fit": {"lr": 0.2}})
    {'fit': {'lr': 0.2, 'steps': 5}}
    """
    merged: Values = {}
    for layer in layers:
        for group, options in layer.items():
            merged.setdefault(group, {}).update(options)
    return merged
