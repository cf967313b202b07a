"""Where randomness comes from: one integer seed, and independent streams derived by name."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from pyrodgm.errors import UsageError


def numpy_generator(seed: int, *names: str) -> np.random.Generator:
    """A NumPy generator whose stream depends on the seed and the names, and on nothing else.

    Streams of different names are independent: drawing more from one never moves another.

    Args:
        seed: any integer >= 0.
        names: what the stream is for, for example "balls", "train".

    Raises:
        UsageError: the seed is negative.

    >>> one, two = numpy_generator(0, "train"), numpy_generator(0, "test")
    >>> bool(one.random() == two.random())
    False
    """
    return np.random.default_rng(_sequence(seed, names))


def torch_generator(seed: int, *names: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The same for torch: a generator on `device` whose stream depends on the seed and the names.

    >>> draws = [torch.rand(1, generator=torch_generator(0, "noise")).item() for _ in range(2)]
    >>> draws[0] == draws[1]
    True
    """
    state = int(_sequence(seed, names).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(state)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch (which is also Pyro's), NumPy and `random`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third parties still draw from the global state
    random.seed(seed)


def generator_state(device: torch.device) -> dict[str, Any]:
    """Where all global generators stand, as tensors and plain values."""
    name, keys, *place = np.random.get_state()  # noqa: NPY002 - seeded above, so kept as well
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *place],
        "random": random.getstate(),
    }
    on_gpu = device.type == "cuda"
    return {**state, "cuda": torch.cuda.get_rng_state(device)} if on_gpu else state


def restore_generators(state: dict[str, Any], device: torch.device) -> None:
    """Continue where `generator_state` was taken; a GPU's only where both were on one."""
    name, keys, *place = state["numpy"]
    torch.set_rng_state(state["torch"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *place))  # noqa: NPY002
    random.setstate(state["random"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def _sequence(seed: int, names: tuple[str, ...]) -> np.random.SeedSequence:
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; give an integer >= 0")
    # Python's own hash() changes from process to process; a digest does not.
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.SeedSequence([seed, int.from_bytes(digest[:16], "big")])


@contextmanager
def forked(seed: int, *names: str) -> Iterator[None]:
    """Draw from a stream of its own inside, and leave torch's global generators as they were.

    >>> state = torch.get_rng_state()
    >>> with forked(0, "evaluation"):
    ...     _ = torch.rand(3)
    >>> bool((torch.get_rng_state() == state).all())
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(int(_sequence(seed, names).generate_state(1, np.uint64)[0]))
        yield
