"""Statically binarised MNIST: handwritten digits as independent rows of 28 x 28 bits."""

from __future__ import annotations

from pyrodgm.data.base import Splits
from pyrodgm.data.published import Published

BINARISED = Published(
    name="mnist",
    folder="mnist",
    file="binarized_mnist.npz",
    what=(
        "MNIST as Salakhutdinov and Murray (2008) made it black and white, from "
        "github.com/mingzhang-yin/ARM-gradient, as an npz of bytes 0 and 1: train (50000, 784), "
        "valid (10000, 784), test (10000, 784)"
    ),
    shape=((50_000, 50_000), (10_000, 10_000), (10_000, 10_000)),
    dim=784,
    options={"image_shape": (28, 28)},
    notes=("the test rows are sorted by digit, so the first rows are not a random subset",),
)


def load(*, path: str | None = None) -> Splits:
    """Statically binarised MNIST.

    Args:
        path: the npz file, if it is not in a usual place.

    Raises:
        DataError: it is not on this machine, or not what was published.
    """
    return BINARISED.load(path)
