"""Classes in users' files, and the lines in which their errors arise."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pyrodgm.access import access_in_words
from pyrodgm.errors import UsageError, did_you_mean
from pyrodgm.objectives import Objective
from pyrodgm.schema import plain_options

_PREFIX = "pyrodgm_user_"


def is_own(name: str) -> bool:
    """Whether a name refers to a class in a file.

    >>> is_own("models/mine.py:Mine"), is_own("tsbn")
    (True, False)
    """
    return ".py:" in name


def absolute(name: str) -> str:
    """The same ``file.py:ClassName`` with an absolute path."""
    file, _, class_name = name.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{class_name}"


@access_in_words(UsageError)
def load_class(name: str) -> type:
    """The class that ``path/to/file.py:ClassName`` names.

    Raises:
        UsageError: no such file or class, or the file cannot be imported; then with its line.
    """
    file, _, class_name = absolute(name).rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"'{name}': there is no file {path}")
    module = _import(path, path.stat().st_mtime_ns)
    classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    if class_name not in classes:
        own = [key for key, value in classes.items() if value.__module__ == module.__name__]
        hint = did_you_mean(class_name, own) if own else "it defines no class at all"
        raise UsageError(f"'{name}': the file has no class '{class_name}'; {hint}")
    return classes[class_name]


@functools.lru_cache(maxsize=64)
def _import(path: Path, modified: int) -> ModuleType:
    """A file imported as a module; only once unless it was modified, so that classes are equal."""
    del modified
    module_name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and typing look up their module by name
    sys.path.insert(0, str(path.parent))  # for imports from the same folder, as in a script
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        where = place(error, {str(path)}) or f"{path}: {error!r}"
        raise UsageError(f"cannot import {where}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def digest(target: type) -> str | None:
    """Digest of the file from which a user's class was loaded; None for other classes."""
    if not target.__module__.startswith(_PREFIX):
        return None
    file = getattr(sys.modules.get(target.__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


def place(error: BaseException, files: set[str] | None = None) -> str | None:
    """The line of a user's file in which an error arose, and the error; None if it was elsewhere.

    Args:
        error: the error, as caught.
        files: the user's files; by default all that `load_class` has imported.
    """
    if files is None:
        files = {
            str(module.__file__)
            for name, module in list(sys.modules.items())
            if name.startswith(_PREFIX)
        }
    if isinstance(error, SyntaxError) and error.filename is not None:
        shown = f"\n    {error.text.strip()}" if error.text else ""
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}{shown}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if not frames:
        return None
    last = frames[-1]
    what = f"{type(error).__name__}: {error}"
    return f"{last.filename}, line {last.lineno}, in {last.name}: {what}\n    {last.line}"


def described(objective: Objective) -> dict[str, dict[str, Any]]:
    """The classes of an objective by role, with their options and digests of users' files."""
    parts = {"model": objective.model, "guide": objective.guide, "objective": objective}
    found = {}
    for role, part in parts.items():
        own = digest(type(part))
        found[role] = {
            "class": type(part).__qualname__,
            "options": plain_options(part),
            **({"sha256": own} if own else {}),
        }
    return found
