"""How is a file written, so that a reader never sees half of it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrodgm.errors import UsageError


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
    # The ending stays last: many writers choose their format by it.
    unfinished = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
