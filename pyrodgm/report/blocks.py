"""The parts of a page: sections of text, tables, pictures and files, with nothing outside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pyrodgm.data.base import DataInfo
from pyrodgm.figures.videos import save_gif
from pyrodgm.tables import Table

DPI = 150
SHADE = 4  # of 256 grey values, one step in moving pictures


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: plain text.
        tone: "good" or "warning" for a verdict, "note" for what is small print.
    """

    text: str
    tone: Literal["plain", "good", "warning", "note"] = "plain"


@dataclass(frozen=True)
class Listing:
    """Text as it stands in a file."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows.

    Args:
        uri: the picture itself, from `png_uri`, `gif_uri` or `data_uri`.
        caption: one or two sentences; also what is read aloud in its place.
        narrow: whether it is to take no more than half of the page.
    """

    uri: str
    caption: str
    narrow: bool = False


@dataclass(frozen=True)
class Download:
    """Files inside the page.

    Args:
        links: for each its name and contents, from `data_uri`.
        caption: what they are.
    """

    links: Sequence[tuple[str, str]]
    caption: str


Block = Text | Listing | Table | Picture | Download


@dataclass(frozen=True)
class Section:
    """A part of the page below a title.

    Args:
        title: one or a few words.
        blocks: from top to bottom.
    """

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What a link to it says.

        >>> Section("Can it be trusted?", []).anchor
        'can-it-be-trusted'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: its title.
        lead: a sentence below.
        tiles: the numbers to see first: for each its value and what it is.
        sections: from top to bottom; those without blocks are left out.
    """

    title: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default=())


def data_uri(content: bytes, mime: str) -> str:
    """Bytes as an address that holds them.

    >>> data_uri(b"abc", "text/plain")
    'data:text/plain;base64,YWJj'
    """
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def png_uri(figure: Figure) -> str:
    """A figure as an address that holds it."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return data_uri(buffer.getvalue(), "image/png")


def gif_uri(frames: Sequence[Image.Image], info: DataInfo) -> str:
    """Grey pictures that move as an address that holds them; in 65 shades, half the size."""
    shades = [min(255, SHADE * round(value / SHADE)) for value in range(256)]
    buffer = io.BytesIO()
    save_gif([frame.point(shades) for frame in frames], info, buffer)
    return data_uri(buffer.getvalue(), "image/gif")
