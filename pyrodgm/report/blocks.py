"""The parts of a page: sections of text, tables, pictures and files, all inside the page."""

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
SHADE = 4  # step between grey values in videos


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: plain text.
        tone: "good" or "warning" for a verdict, "note" for small print.
    """

    text: str
    tone: Literal["plain", "good", "warning", "note"] = "plain"


@dataclass(frozen=True)
class Listing:
    """Preformatted text of a file."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A picture with a caption.

    Args:
        uri: the picture itself, from `png_uri`, `gif_uri` or `data_uri`.
        caption: one or two sentences; also the text for screen readers.
        narrow: whether to limit it to half of the page.
    """

    uri: str
    caption: str
    narrow: bool = False


@dataclass(frozen=True)
class Download:
    """Files inside the page.

    Args:
        links: name and contents of each, from `data_uri`.
        caption: description of the files.
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
        """The target of links to the section.

        >>> Section("Can it be trusted?", []).anchor
        'can-it-be-trusted'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: its title.
        lead: a sentence below the title.
        tiles: the most important numbers, each with a label.
        sections: from top to bottom; those without blocks are omitted.
    """

    title: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default=())


def data_uri(content: bytes, mime: str) -> str:
    """Bytes as a data URI.

    >>> data_uri(b"abc", "text/plain")
    'data:text/plain;base64,YWJj'
    """
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def png_uri(figure: Figure) -> str:
    """A figure as a data URI."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return data_uri(buffer.getvalue(), "image/png")


def gif_uri(frames: Sequence[Image.Image], info: DataInfo) -> str:
    """A video as a data URI; with 65 shades of each channel it is half as large."""
    shades = [min(255, SHADE * round(value / SHADE)) for value in range(256)]
    buffer = io.BytesIO()
    save_gif([frame.point(shades * len(frame.getbands())) for frame in frames], info, buffer)
    return data_uri(buffer.getvalue(), "image/gif")
