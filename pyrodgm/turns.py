"""A fair lock for global state of the process: random generators and Pyro's handlers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A reentrant lock that is handed to waiting threads.

    The order matters: a training releases the lock after every step and takes it again immediately;
    with an unfair lock, other threads would wait until training ends.
    """

    def __init__(self) -> None:
        self._queue = threading.Lock()
        self._lock = threading.RLock()
        self._owner: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock inside the block."""
        if self._owner == threading.get_ident():
            yield
            return
        with self._queue:  # a waiting thread holds the queue, before one that returns
            self._lock.acquire()
        try:
            self._owner = threading.get_ident()
            yield
        finally:
            self._owner = None
            self._lock.release()


PROCESS = Turns()
