"""Facts about a dataset, from which models and guides are built."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pyrodgm.data.audio import Audio

Kind = Literal["binary", "unit", "categorical", "count", "real"]
ImageShape = tuple[int, int] | tuple[int, int, int]
SPLITS = ("train", "valid", "test")
NO_SYMBOL = -1.0  # where a categorical feature is missing


@dataclass(frozen=True)
class DataInfo:
    """Facts about a dataset; models and guides are built from it, never from the data itself.

    Args:
        name: dataset name or file stem.
        kind: "binary" for {0,1}, "unit" for grey values in [0,1], "categorical" for symbols without
            an order, which are whole numbers, "count" for whole numbers from zero, "real" for
            anything else.
        dim: observed features per frame, D.
        mean: per-feature mean over what training observed, D numbers.
        std: per-feature standard deviation of the same, D numbers; ones if not given.
        step_std: per-feature standard deviation of the change from one frame to the next, for real
            numbers, D of them; those of the frames if not given.
        centre: numbers subtracted from the data in batches, D of them; the means for real numbers.
            Nothing is subtracted if not given.
        mean_length: mean training sequence length, in frames.
        max_length: longest sequence of any split, in frames.
        image_shape: (height, width) where a frame is a grey picture, or (channels, height, width)
            with 1 channel, or 3 for red, green and blue, one after the other.
        lowest_pitch: MIDI number of feature 0 where a frame is a row of a piano roll.
        frame_rate: frames per second, for pictures that move and for sound.
        words: what every feature counts, D words.
        frame_labels: the label of every frame, for instance its year, where all splits are the
            same sequence or its first frames; as many as the longest has.
        has_missing: whether some feature of some frame, in any split, was not observed.
        symbols: of categorical data, the symbols of every feature in ascending order, D tuples; all
            that occur in any split.
        frequencies: of categorical data, the share of each symbol among the observed training
            values of its feature, for all symbols end to end.
        num_frames: training frames, over all sequences; 0 where that was not measured.
        condition_mean: training mean of every condition of the frames, U numbers.
        condition_std: standard deviation of the same, U numbers; zero where it never changes.
        classes: names of the classes whose one-hot coding are the last conditions, if any are.
        modes: the modes of the distribution of a frame, points of D numbers, if they are known.
        mode_std: the standard deviation of the data around each mode, in every direction.
        audio: how frames become samples, where a frame is a piece of a recording.
    """

    name: str
    kind: Kind
    dim: int
    mean: tuple[float, ...] = field(repr=False)
    mean_length: float
    max_length: int
    std: tuple[float, ...] = field(default=(), repr=False)
    step_std: tuple[float, ...] = field(default=(), repr=False)
    centre: tuple[float, ...] = field(default=(), repr=False)
    image_shape: ImageShape | None = None
    lowest_pitch: int | None = None
    frame_rate: float = 10.0
    words: tuple[str, ...] = field(default=(), repr=False)
    frame_labels: tuple[str, ...] = field(default=(), repr=False)
    has_missing: bool = False
    num_frames: int = 0
    symbols: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    frequencies: tuple[float, ...] = field(default=(), repr=False)
    condition_mean: tuple[float, ...] = field(default=(), repr=False)
    condition_std: tuple[float, ...] = field(default=(), repr=False)
    classes: tuple[str, ...] = field(default=(), repr=False)
    modes: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    mode_std: float | None = None
    audio: Audio | None = None

    @property
    def fill(self) -> tuple[float, ...]:
        """Values in batches where a feature is missing, D numbers: its mean, or no symbol."""
        return (NO_SYMBOL,) * self.dim if self.kind == "categorical" else self.mean

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame; one row of grey pixels if it is not a picture."""
        *channels, height, width = self.image_shape or (1, self.dim)
        return (*channels, 1)[0], height, width

    @property
    def num_conditions(self) -> int:
        """Conditions per frame, U."""
        return len(self.condition_mean)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataInfo:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        facts = {key: _as_tuples(value) for key, value in values.items()}
        audio = values.get("audio")
        return cls(**{**facts, "audio": Audio(**audio) if audio else None})


def _as_tuples(value: Any) -> Any:
    """Lists as tuples, and lists in them too."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
