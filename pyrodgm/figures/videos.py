"""Videos side by side, with labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pyrodgm.data.base import DataInfo
from pyrodgm.figures.pixels import scale_of, shades

VIDEO_PIXELS = 720  # approximate width of a grid of videos after scaling
MARGIN = 1  # pixels between videos, before scaling
GROUND = 90  # grey between videos
LABEL = 18  # height of a line of text in pixels


def grid(
    x: np.ndarray, info: DataInfo, *, columns: int | None = None, pixels: int = VIDEO_PIXELS
) -> list[Image.Image]:
    """N videos side by side and below each other, frame by frame.

    Args:
        x: the videos, (N, T, D); NaN where a value is missing.
        info: facts of the data, with an ``image_shape``.
        columns: videos per row; by default the grid is about square.
        pixels: approximate width after scaling by a whole number.
    """
    _, height, width = info.picture_shape
    shown = np.rint(255 * shades(x, info, scale_of(x, info))).astype(np.uint8)
    columns = columns or math.ceil(math.sqrt(len(x)))
    lines = math.ceil(len(x) / columns)
    size = (lines * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN)
    frames = np.full((x.shape[1], *size, *shown.shape[4:]), GROUND, dtype=np.uint8)
    for number, video in enumerate(shown):
        top = (number // columns) * (height + MARGIN) + MARGIN
        left = (number % columns) * (width + MARGIN) + MARGIN
        frames[:, top : top + height, left : left + width] = video
    scale = max(1, pixels // size[1])
    return [Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)) for frame in frames]


def side_by_side(
    rows: Mapping[str, np.ndarray],
    info: DataInfo,
    *,
    forecast_from: int | None = None,
    pixels: int = VIDEO_PIXELS,
) -> list[Image.Image]:
    """Videos of equal length side by side, with their names and the number of the frame.

    Args:
        rows: each video, (T, D), by its name.
        info: facts of the data, with an ``image_shape``.
        forecast_from: first forecast frame, for the caption.
        pixels: approximate width after scaling by a whole number.
    """
    plain = grid(np.stack(list(rows.values())), info, columns=len(rows), pixels=pixels)
    return [
        _labelled(frame, list(rows), _caption(number, len(plain), forecast_from))
        for number, frame in enumerate(plain)
    ]


def save_gif(images: Sequence[Image.Image], info: DataInfo, file: Path | IO[bytes]) -> None:
    """Write frames as a looping gif, at the frame rate of the data.

    Args:
        images: the frames.
        info: facts of the data.
        file: a path, or a file open for writing.
    """
    milliseconds = max(10, round(1000 / info.frame_rate))
    images[0].save(
        file, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
    )


def _caption(number: int, length: int, forecast_from: int | None) -> str:
    text = f"frame {number + 1} of {length}"
    if forecast_from is None:
        return text
    return f"{text}   {'observed' if number < forecast_from else 'forecast'}"


def _labelled(frame: Image.Image, names: Sequence[str], caption: str) -> Image.Image:
    font = ImageFont.load_default(LABEL - 4)
    whole = Image.new(frame.mode, (frame.width, frame.height + 2 * LABEL), "white")
    whole.paste(frame, (0, 2 * LABEL))
    draw = ImageDraw.Draw(whole)
    draw.text((4, 0), caption, fill="#787878", font=font)
    for number, name in enumerate(names):
        draw.text((number * frame.width / len(names) + 4, LABEL), name, fill="black", font=font)
    return whole
