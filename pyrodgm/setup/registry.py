"""Classes by name: those of the library, and classes in a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrodgm.data import DATASETS, find_loader
from pyrodgm.errors import UsageError, did_you_mean
from pyrodgm.guides import GUIDES, Guide
from pyrodgm.models import MODELS, Model
from pyrodgm.objectives import OBJECTIVES, Objective
from pyrodgm.schema import unwritten
from pyrodgm.setup import userfile

REGISTRIES: dict[str, Mapping[str, Any]] = {
    "model": MODELS,
    "guide": GUIDES,
    "objective": OBJECTIVES,
    "data": DATASETS,
}
BASES: dict[str, type] = {"model": Model, "guide": Guide, "objective": Objective}


def find(kind: str, name: str) -> Any:
    """The class (for data: the loader) of a name.

    Args:
        kind: "model", "guide", "objective" or "data".
        name: a registered name, or ``path/to/file.py:ClassName``; for data, a name or a path.

    Raises:
        UsageError: unknown name, missing file, missing class, or a class of the wrong kind.

    >>> find("model", "tsbn").__name__
    'TSBN'
    """
    if kind == "data":
        return find_loader(name)[0]
    if userfile.is_own(name):
        return _own(kind, name)
    known = REGISTRIES[kind]
    if name not in known:
        hint = did_you_mean(name, known)
        raise UsageError(
            f"unknown {kind} '{name}' (for your own, give path/to/file.py:ClassName); {hint}"
        )
    return known[name]


def absolute(kind: str, name: str) -> str:
    """The name as recorded in a configuration, with absolute paths.

    >>> absolute("model", "tsbn")
    'tsbn'
    """
    if kind == "data":
        return name if name in DATASETS else str(Path(name).expanduser().resolve())
    return userfile.absolute(name) if userfile.is_own(name) else name


def _own(kind: str, name: str) -> type:
    found, base = userfile.load_class(name), BASES[kind]
    if not issubclass(found, base):
        raise UsageError(
            f"{kind} '{name}': class {found.__name__} is not a {kind}; derive it from "
            f"pyrodgm.{kind}s.{base.__name__}"
        )
    if missing := unwritten(found):
        raise UsageError(f"{kind} '{name}': {found.__name__} does not define {', '.join(missing)}")
    if not hasattr(found, trait := "needs" if kind == "objective" else "traits"):
        raise UsageError(
            f"{kind} '{name}': {found.__name__} does not declare '{trait}'; "
            f"see pyrodgm.{kind}s.{base.__name__}"
        )
    return found
