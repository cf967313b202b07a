"""Arrays of pictures as tables of frames: one row for each, channel by channel, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.facts import CHANNELS, is_image_shape
from pyrodgm.data.info import ImageShape
from pyrodgm.data.redrawn import RedrawnBits
from pyrodgm.errors import DataError
from pyrodgm.seeds import numpy_generator

WHITE = 255  # of a byte


def as_tables(
    arrays: Mapping[str, np.ndarray], image_shape: np.ndarray | None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Arrays of pictures as tables (N, C H W), and their shape; tables are left unchanged.

    Colour pictures (N, H, W, C) and (N, C, H, W) have 1 or 3 channels, which distinguishes them.
    If both axes have as many, or the pictures are grey (N, H, W), `image_shape` is needed.

    Args:
        arrays: the frames of every split.
        image_shape: (height, width) or (channels, height, width), if it is known; unchecked.

    Raises:
        DataError: it is not clear which axis holds the channels, or the shapes differ.

    >>> tables, shape = as_tables({"train": np.zeros((5, 4, 2, 3))}, None)
    >>> tables["train"].shape, shape.tolist()
    ((5, 24), [3, 4, 2])
    """
    tables = dict(arrays)
    for name, x in arrays.items():
        if x.ndim == 4 and image_shape is None:
            image_shape = np.array(_inferred(name, x.shape))
        if x.ndim in (3, 4) and image_shape is not None and is_image_shape(image_shape):
            tables[name] = as_table(name, x, tuple(image_shape.tolist()))
    return tables, image_shape


def as_table(name: str, x: np.ndarray, image_shape: ImageShape) -> np.ndarray:
    """Pictures of a known shape as rows, (N, C H W).

    Args:
        name: of the array, for messages.
        x: (N, H, W) if they are grey, (N, C, H, W) or (N, H, W, C).
        image_shape: (height, width) or (channels, height, width).

    Raises:
        DataError: the array has another shape, or it is unclear which axis is that of channels.
    """
    channels, height, width = (1, *image_shape)[-3:]
    first, last = (channels, height, width), (height, width, channels)
    if x.ndim == 3 and channels == 1:
        first = last = (height, width)
    elif x.shape[1:] == first == last and channels > 1:
        raise DataError(
            f"'{name}' has shape {x.shape}: channels may be the second or the last axis; give "
            "rows of numbers, channel by channel: x.reshape(len(x), -1) of (N, channels, height, "
            "width)"
        )
    if x.shape[1:] == first:
        return np.ascontiguousarray(x).reshape(len(x), -1)
    if x.shape[1:] == last:
        return np.ascontiguousarray(np.moveaxis(x, 3, 1)).reshape(len(x), -1)
    expected = (f"(N, {', '.join(map(str, shape))})" for shape in dict.fromkeys((first, last)))
    raise DataError(
        f"'{name}' has shape {x.shape}, but image_shape is {image_shape}; expected "
        f"{' or '.join(expected)}, or rows of {channels * height * width} numbers, channel by "
        "channel"
    )


def _inferred(name: str, shape: tuple[int, ...]) -> ImageShape:
    """The shape (C, H, W) of pictures of 1 or 3 channels, which are the second or the last axis."""
    _, second, third, last = shape
    if second in CHANNELS and last in CHANNELS:
        raise DataError(
            f"'{name}' has shape {shape}: channels may be the second or the last axis; say which "
            "by an array image_shape in the file, (channels, height, width): "
            f"{shape[1:]} or {(last, second, third)}; or by --set data.image_shape=[...]"
        )
    if second not in CHANNELS and last not in CHANNELS:
        raise DataError(
            f"'{name}' has shape {shape}; expected pictures with 1 or 3 channels, (N, height, "
            "width, channels) or (N, channels, height, width). Videos: all frames end to end, "
            f"with their number in {name}_lengths"
        )
    return (second, third, last) if second in CHANNELS else (last, second, third)


def grey_bytes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Bytes from 0 to 255 as grey values from 0 to 1; other arrays are left unchanged.

    Bytes that are all 0 or 1 are grey values already.

    >>> grey_bytes({"x": np.array([[0, 51, 255]], np.uint8)})["x"].tolist()
    [[0.0, 0.20000000298023224, 1.0]]
    """
    levels = [x.dtype == np.uint8 for x in arrays.values()]
    if not all(levels) or max((int(x.max(initial=0)) for x in arrays.values()), default=0) <= 1:
        return dict(arrays)
    return {name: np.divide(x, WHITE, dtype=np.float32) for name, x in arrays.items()}


def as_bits(splits: Splits, stream: str, *, redrawn: bool = False) -> Splits:
    """Grey pictures as bits: every pixel drawn once, with its grey value as probability.

    Args:
        splits: grey values in [0, 1].
        stream: name of the random stream, so that the bits are the same every time.
        redrawn: whether the bits of training are drawn anew for every batch.
    """
    info, parts = splits.info, {}
    for split, part in splits.items():
        grey, rng = part.x.numpy(), numpy_generator(0, stream, split)
        bits = (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.uint8)
        given = None if part.conditions is None else part.conditions.numpy()
        parts[split] = Sequences(bits, part.lengths, conditions=given, labels=part.labels)
    facts = {"image_shape": info.image_shape, "classes": info.classes}
    drawn = Splits.of(info.name, "binary", parts, **facts)
    note = "every pixel is drawn once, with its grey value as probability"
    if redrawn:
        note += ", but anew for every batch of training"
        drawn = replace(drawn, augmented=RedrawnBits(drawn.train, splits.train.x))
    return replace(drawn, sha256=splits.sha256, notes=(*splits.notes, note))
