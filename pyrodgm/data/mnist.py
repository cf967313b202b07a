"""MNIST: handwritten digits as independent rows of 28 x 28 bits or grey values."""

from __future__ import annotations

from typing import Literal, get_args

from pyrodgm.data.base import Splits
from pyrodgm.data.pictures import as_bits
from pyrodgm.data.published import Published
from pyrodgm.errors import UsageError

Values = Literal["static", "sampled", "dynamic", "grey"]

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


GREY = Published(
    name="mnist",
    folder="mnist",
    file="mnist.npz",
    what=(
        "MNIST with its grey values and labels, as an npz of bytes 0 to 255: train (60000, 784), "
        "train_labels (60000,), test (10000, 784), test_labels (10000,)"
    ),
    shape=((54_000, 54_000), (6_000, 6_000), (10_000, 10_000)),
    dim=784,
    options={"kind": "unit", "image_shape": (28, 28)},
)


def load(
    *,
    path: str | None = None,
    values: Values = "static",
    labels: bool = False,
) -> Splits:
    r"""Handwritten digits, black and white or grey.

    - "static": the published bits, for which most log-likelihoods are reported, without labels.
    - "sampled": every pixel is drawn once as a bit, with its grey value as probability, and the
      same bits every time. The distribution is that of "static"; the bits, and the split into
      training and validation, are others.
    - "dynamic": as "sampled", but in training the bits are drawn anew for every batch.
    - "grey": grey values in [0,1], which emission "bernoulli" scores by cross-entropy.

    Args:
        path: the npz file, if it is not in a usual place.
        values: "static", "sampled", "dynamic" or "grey".
        labels: whether the digit of every row is a condition, with a column of zeros and ones for
            each of the ten; not for "static". Otherwise it is used in evaluation alone.

    Raises:
        DataError: it is not on this machine, or not what was published.
        UsageError: labels of data that has none.
    """
    if values not in get_args(Values):
        raise UsageError(f"mnist: values is '{values}'; give {', '.join(get_args(Values))}")
    if values == "static":
        if labels:
            raise UsageError(
                "mnist: the published bits (data.values=static) have no labels; take "
                "data.values=sampled for bits or data.values=grey (--set data.values=sampled)"
            )
        return BINARISED.load(path)
    splits = GREY.load(path, labels=labels)
    return splits if values == "grey" else as_bits(splits, "mnist", redrawn=values == "dynamic")
