"""Files and folders that the operating system does not permit to be read or written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrodgm.errors import PyrodgmError

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def access_in_words(kind: type[PyrodgmError]) -> Iterator[None]:
    """What the operating system does not permit, as an error of ours; a decorator, too.

    Args:
        kind: of the error.

    Raises:
        PyrodgmError: of that kind, where a file or folder may not be read or written.

    >>> from pyrodgm.errors import DataError
    >>> with access_in_words(DataError):  # doctest: +ELLIPSIS
    ...     raise PermissionError(errno.EACCES, "Permission denied", "a.txt")
    Traceback (most recent call last):
    pyrodgm.errors.DataError: no permission for a.txt (Permission denied)...
    """
    try:
        yield
    except PyrodgmError:
        raise
    except OSError as error:
        if not is_denied(error):
            raise
        raise kind(without_permission(error)) from error


def is_denied(error: BaseException) -> bool:
    """Whether the operating system does not permit something, on a read-only disk for example."""
    return isinstance(error, OSError) and error.errno in DENIED


def without_permission(error: OSError, path: Path | None = None) -> str:
    """What a person reads where something is not permitted.

    Args:
        error: what the operating system said.
        path: of the file, where another name is in the error.
    """
    return (
        f"no permission for {path or error.filename} ({error.strerror}); change its permissions, "
        "or give another place"
    )
