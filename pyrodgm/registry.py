"""From a name to a class: what the library knows, and classes in a user's own file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrodgm.data import DATASETS
from pyrodgm.errors import UsageError, did_you_mean
from pyrodgm.guides import GUIDES, Guide
from pyrodgm.models import MODELS, Model
from pyrodgm.objectives import OBJECTIVES, Objective

REGISTRIES: dict[str, Mapping[str, Any]] = {
    "model": MODELS,
    "guide": GUIDES,
    "objective": OBJECTIVES,
    "data": DATASETS,
}
_BASES: dict[str, type] = {"model": Model, "guide": Guide, "objective": Objective}


def find(kind: str, name: str) -> Any:
    """The class (for data: the loader) of a name.

    Args:
        kind: "model", "guide", "objective" or "data".
        name: a registered name, or ``path/to/file.py:ClassName``.

    Raises:
        UsageError: unknown name, missing file, missing class, or a class of the wrong kind.
    """
    if ".py:" in name:
        return _from_file(kind, name)
    known = REGISTRIES[kind]
    if name not in known:
        hint = did_you_mean(name, known)
        own = "" if kind == "data" else ", or give your own as path/to/file.py:ClassName"
        raise UsageError(f"unknown {kind} '{name}'; {hint}{own}")
    return known[name]


def _from_file(kind: str, name: str) -> Any:
    file, _, class_name = name.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"{kind} '{name}': there is no file {file}")
    module_name = f"pyrodgm_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{kind} '{name}': {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and typing look their module up by name
    spec.loader.exec_module(module)
    classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    if class_name not in classes:
        hint = did_you_mean(class_name, classes)
        raise UsageError(f"{kind} '{name}': {file} has no class '{class_name}'; {hint}")
    found = classes[class_name]
    if not issubclass(found, _BASES[kind]):
        raise UsageError(
            f"{kind} '{name}': class {class_name} is not a {kind}; derive it from "
            f"{_BASES[kind].__module__}.{_BASES[kind].__name__}"
        )
    return found
