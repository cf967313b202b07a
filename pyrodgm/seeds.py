"""Random streams: one integer seed, and independent streams derived by name."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from pyrodgm.arguments import check_whole
from pyrodgm.turns import PROCESS


def numpy_generator(seed: int, *names: str) -> np.random.Generator:
    """A NumPy generator whose stream depends on the seed and the names, and on nothing else.

    Streams of different names are independent: draws from one never change another.

    Args:
        seed: any integer >= 0.
        names: purpose of the stream, for example "balls", "train".

    Raises:
        UsageError: the seed is negative, or no whole number.

    >>> one, two = numpy_generator(0, "train"), numpy_generator(0, "test")
    >>> bool(one.random() == two.random())
    False
    """
    return np.random.default_rng(_sequence(seed, names))


class Stream:
    """A separate stream for code that draws from the global generators.

    Distributions, layers and third parties draw from the global generators of torch (which is also
    Pyro's), NumPy and `random`. While a stream is used, these continue from its state; afterwards
    their own state is restored. Threads take turns.

    Args:
        seed: any integer >= 0.
        device: if a GPU, its generator is part of the stream too.

    Raises:
        UsageError: the seed is negative, or no whole number.

    >>> state, stream = torch.get_rng_state(), Stream(0)
    >>> with stream.used():
    ...     first = torch.rand(2)
    >>> with stream.used():
    ...     second = torch.rand(2)
    >>> torch.equal(first, second), torch.equal(torch.get_rng_state(), state)
    (False, True)
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        _check_seed(seed)
        device = torch.device(device)
        if device.type == "cuda":
            torch.cuda.init()
            self._gpus = [torch.cuda.current_device() if device.index is None else device.index]
        else:
            self._gpus = []
        with _kept(self._gpus):
            _seed(seed, self._gpus)
            self._state = _state(self._gpus)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from the stream inside the block."""
        with _kept(self._gpus):
            _move(self._state)
            try:
                yield
            finally:
                self._state = _state(self._gpus)

    def state_dict(self) -> dict[str, Any]:
        """State of the stream, as tensors and plain values."""
        name, keys, *place = self._state["numpy"]
        gpu = {"cuda": self._state["cuda"][self._gpus[0]]} if self._gpus else {}
        return {
            "torch": self._state["torch"],
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *place],
            "random": self._state["random"],
            **gpu,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another stream; a GPU's state only if both have one."""
        name, keys, *place = state["numpy"]
        self._state |= {
            "torch": state["torch"],
            "numpy": (name, keys.numpy().astype(np.uint32), *place),
            "random": state["random"],
        }
        if "cuda" in state:
            self._state["cuda"] = dict.fromkeys(self._gpus, state["cuda"])


@contextmanager
def forked(seed: int, *names: str) -> Iterator[None]:
    """Draw from a separate stream inside the block, and restore all global generators.

    >>> state = torch.get_rng_state()
    >>> with forked(0, "evaluation"):
    ...     _ = torch.rand(3)
    >>> bool((torch.get_rng_state() == state).all())
    True
    """
    with seeded(int(_sequence(seed, names).generate_state(1, np.uint64)[0])):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The same, with a stream that starts as after `torch.manual_seed` and its equivalents."""
    _check_seed(seed)
    in_use = torch.cuda.is_initialized()
    gpus = list(range(torch.cuda.device_count())) if in_use else []
    with _kept(gpus):
        _seed(seed, gpus)
        yield


@contextmanager
def _kept(gpus: list[int]) -> Iterator[None]:
    """Restore all global generators at the end; no other thread uses them until then."""
    with PROCESS.taken():
        state = _state(gpus)
        try:
            yield
        finally:
            _move(state)


def _seed(seed: int, gpus: list[int]) -> None:
    """Seed all generators. `torch.manual_seed` would also seed GPUs that are not used yet."""
    torch.default_generator.manual_seed(seed)
    for gpu in gpus:
        torch.cuda.default_generators[gpu].manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third parties draw from the global state
    random.seed(seed)


def _state(gpus: list[int]) -> dict[str, Any]:
    """State of all global generators."""
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "random": random.getstate(),
        "cuda": {gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus},
    }


def _move(state: dict[str, Any]) -> None:
    """Restore a state from `_state`."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["random"])
    for gpu, place in state["cuda"].items():
        torch.cuda.set_rng_state(place, gpu)


def _sequence(seed: int, names: tuple[str, ...]) -> np.random.SeedSequence:
    _check_seed(seed)
    # Python's own hash() changes from process to process; a digest does not.
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.SeedSequence([seed, int.from_bytes(digest[:16], "big")])


def _check_seed(seed: int) -> None:
    check_whole(0, seed=seed)
