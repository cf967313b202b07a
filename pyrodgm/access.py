"""Errors for files and folders without permission to read or write."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrodgm.errors import PyrodgmError

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def access_in_words(kind: type[PyrodgmError]) -> Iterator[None]:
    """Convert errors of missing permission to one of our errors; also a decorator.

    Args:
        kind: class of the error.

    Raises:
        PyrodgmError: of that class, if a file or folder cannot be read or written.

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
    """Whether an error is one of missing permission, for example on a read-only disk."""
    return isinstance(error, OSError) and error.errno in DENIED


def without_permission(error: OSError, path: Path | None = None) -> str:
    """The message for an error of missing permission.

    Args:
        error: the error of the operating system.
        path: of the file, if the error has another name.
    """
    return (
        f"no permission for {path or error.filename} ({error.strerror}); change its permissions, "
        "or give another place"
    )
