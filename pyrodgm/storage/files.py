"""Atomic writing of files and folders, and locks against concurrent writers."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from pyrodgm.access import access_in_words, is_denied, without_permission
from pyrodgm.errors import CheckpointError, PyrodgmError, RunFolderError, UsageError

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces `path` if the block succeeds.

    Args:
        path: the file to write; an older one is replaced, or kept if writing fails.

    Raises:
        UsageError: the folder does not exist, or the disk is full or not writable.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with replacing(Path(folder.name, "a.txt")) as unfinished:
    ...     _ = unfinished.write_text("all of it")
    >>> [file.name for file in Path(folder.name).iterdir()]
    ['a.txt']
    >>> folder.cleanup()
    """
    with access_in_words(UsageError):
        if not path.parent.is_dir():
            raise UsageError(
                f"cannot write {path}: there is no folder {path.parent}; make it first"
            )
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder; give the name of a file")
    # The name is unique to this process; the suffix stays, since writers choose a format by it.
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        unfinished.touch()  # reports a place that cannot be written before the work is done
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except PyrodgmError:
        raise
    except OSError as error:
        why = without_permission(error, path) if is_denied(error) else str(error)
        raise UsageError(f"cannot write {path}: {why}") from error
    finally:
        with suppress(OSError):  # it would only repeat the first error
            unfinished.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an npz of arrays, whole or not at all, whatever the name ends in.

    Raises:
        UsageError: the disk is full or not writable.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except UsageError as error:
        raise CheckpointError(str(error)) from error


def temporary_folder() -> Path:
    """A new temporary folder.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="pyrodgm-"))
    except OSError as error:
        raise RunFolderError(
            f"cannot make a temporary folder ({error}); give a folder: out=..."
        ) from error


class Temporary:
    """Deletes a folder when the last reference to this object is gone, or the process ends.

    Copies of an owner share this object, and so do others that open the folder. A pickle may be
    read later, so pickling keeps the folder for good.

    Args:
        path: the folder.
    """

    _known: ClassVar[WeakValueDictionary[Path, Temporary]] = WeakValueDictionary()

    def __init__(self, path: Path) -> None:
        self._known[path.resolve()] = self
        # A forked process has a reference too, and must not delete the folder of its parent.
        self._end = weakref.finalize(self, _delete, path, os.getpid())

    @classmethod
    def of(cls, path: Path) -> Temporary | None:
        """The owner of a temporary folder; None if there is none."""
        return cls._known.get(path.resolve())

    def __deepcopy__(self, memo: dict[int, Any]) -> Temporary:
        del memo
        return self

    def __copy__(self) -> Temporary:
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        self._end.detach()
        return type(None), ()


def _delete(path: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with all of its contents, or nothing.

    Args:
        source: the folder.
        target: a path that does not exist, or an empty folder.

    Raises:
        RunFolderError: the target is within the source, or cannot be written.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise RunFolderError(f"{target} is within {source}; choose a place beside it")
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise RunFolderError(f"cannot copy {source} to {target}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON objects, without a truncated last line.

    Empty if there is no file.
    """
    records = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a run folder against training by other processes.

    The lock is released when the process ends.

    Raises:
        RunFolderError: another process holds the lock.
    """
    if fcntl is None:
        yield
        return
    with access_in_words(RunFolderError):
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"another process is training in {folder}; wait for it, or stop it"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
