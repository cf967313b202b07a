"""How is a file written, so that no reader sees half of it, and no two writers meet?"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyrodgm.errors import PyrodgmError, RunFolderError, UsageError

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place when all went well.

    Args:
        path: the file to write; an older one is replaced, and kept where writing fails.

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
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; give the name of a file")
    # A name that no other process takes; the ending stays, since writers choose a format by it.
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except PyrodgmError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON objects; one that a kill cut short is left out.

    Nothing where there is no file.
    """
    records = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a run folder while it lasts.

    The lock goes with the process, however that ends.

    Raises:
        RunFolderError: another one does.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"another process is training in {folder}; wait for it, or stop it"
            ) from error
        except OSError:  # a file system that knows no locks
            pass
        yield
    finally:
        os.close(handle)
