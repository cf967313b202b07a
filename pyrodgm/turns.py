"""Threads take turns at what a process has only once: global generators and Pyro's handlers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that a thread may take again while it holds it, and that goes to whoever waits.

    The last of these matters: a training that gives it back after every step and asks for it at
    once would otherwise keep all other threads waiting to its end.
    """

    def __init__(self) -> None:
        self._queue = threading.Lock()
        self._lock = threading.RLock()
        self._owner: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock while it lasts."""
        if self._owner == threading.get_ident():
            yield
            return
        with self._queue:  # who waits stands here, in front of the one who comes back
            self._lock.acquire()
        try:
            self._owner = threading.get_ident()
            yield
        finally:
            self._owner = None
            self._lock.release()


PROCESS = Turns()
