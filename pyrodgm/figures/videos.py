"""How does a video look beside another? Labelled frames that move together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pyrodgm.data.base import DataInfo
from pyrodgm.figures.pixels import pixels as shown

VIDEO_PIXELS = 720  # a grid of videos is scaled up to about this width
MARGIN = 1  # pixels between videos, before scaling
GROUND = 90  # grey between videos
LABEL = 18  # height of a line of text in pixels


def grid(
    x: np.ndarray, info: DataInfo, *, columns: int | None = None, pixels: int = VIDEO_PIXELS
) -> list[Image.Image]:
    """N videos side by side and below each other, frame by frame.

    Args:
        x: the videos, (N, T, D).
        info: facts of the data, with an ``image_shape``.
        columns: videos side by side; about as many as below each other by default.
        pixels: width that frames are scaled up to, in whole steps.
    """
    channels, height, width = info.picture_shape
    columns = columns or math.ceil(math.sqrt(len(x)))
    lines = math.ceil(len(x) / columns)
    size = (lines * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN)
    colours = () if channels == 1 else (channels,)
    frames = np.full((x.shape[1], *size, *colours), GROUND, dtype=np.uint8)
    for number, video in enumerate(shown(_bytes(x, info), info)):
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
    """Videos of one length next to each other, each below its name, with the number of the frame.

    Args:
        rows: each video, (T, D), by its name.
        info: facts of the data, with an ``image_shape``.
        forecast_from: frame from which on videos are forecasts; said in the line above.
        pixels: width that frames are scaled up to, in whole steps.
    """
    plain = grid(np.stack(list(rows.values())), info, columns=len(rows), pixels=pixels)
    return [
        _labelled(frame, list(rows), _caption(number, len(plain), forecast_from))
        for number, frame in enumerate(plain)
    ]


def save_gif(images: Sequence[Image.Image], info: DataInfo, file: Path | IO[bytes]) -> None:
    """Write frames as a gif that repeats, at the frame rate of the data.

    Args:
        images: the frames.
        info: facts of the data.
        file: a path, or a file open for writing.
    """
    milliseconds = max(10, round(1000 / info.frame_rate))
    images[0].save(
        file, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
    )


def _bytes(x: np.ndarray, info: DataInfo) -> np.ndarray:
    """Values as bytes; real ones from their least to their greatest."""
    if info.kind == "real":
        x = (x - x.min()) / max(float(np.ptp(x)), np.finfo(x.dtype).tiny)
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8)


def _caption(number: int, length: int, forecast_from: int | None) -> str:
    text = f"frame {number + 1} of {length}"
    if forecast_from is None:
        return text
    return f"{text}   {'seen' if number < forecast_from else 'forecast'}"


def _labelled(frame: Image.Image, names: Sequence[str], caption: str) -> Image.Image:
    font = ImageFont.load_default(LABEL - 4)
    whole = Image.new(frame.mode, (frame.width, frame.height + 2 * LABEL), "white")
    whole.paste(frame, (0, 2 * LABEL))
    draw = ImageDraw.Draw(whole)
    draw.text((4, 0), caption, fill="#787878", font=font)
    for number, name in enumerate(names):
        draw.text((number * frame.width / len(names) + 4, LABEL), name, fill="black", font=font)
    return whole
