"""Sound as frames of samples, and the constants that turn one into the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pyrodgm.errors import DataError

Loudness = Literal["equal", "recorded"]
FULL_SCALE = 2**15  # of samples of 16 bits
LEVEL = -26.0  # dB relative to full scale, a usual level of recorded speech


@dataclass(frozen=True)
class Audio:
    r"""How samples became frames, x = (s - mean) / std, and how frames become samples.

    Args:
        rate: samples per second.
        frame_size: samples per frame, D.
        mean: of the training samples, in the units of 16 bits, after their loudness was set.
        std: their standard deviation.
        loudness: "equal" if every recording was scaled to the same root mean square, `LEVEL`;
            "recorded" if it was left as it is.

    >>> audio = Audio(rate=8000, frame_size=2, mean=1.0, std=2.0, loudness="recorded")
    >>> audio.frames(np.array([1, 3, 5])).tolist()
    [[0.0, 1.0], [2.0, 0.0]]
    >>> audio.samples(np.array([[0.0, 1.0], [2.0, 0.0]])).tolist()
    [1.0, 3.0, 5.0, 1.0]
    """

    rate: int
    frame_size: int
    mean: float
    std: float
    loudness: Loudness

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """Standardised frames of one recording, (T, D) float32; zeros fill the last one.

        Args:
            samples: in the units of 16 bits, (samples,).
        """
        x = (at_loudness(samples, self.loudness) - self.mean) / self.std
        padded = np.zeros(-(-len(x) // self.frame_size) * self.frame_size, np.float32)
        padded[: len(x)] = x
        return padded.reshape(-1, self.frame_size)

    def samples(self, frames: np.ndarray) -> np.ndarray:
        """The inverse, without the loudness of the recording: samples end to end, (T D,).

        Args:
            frames: (T, D).
        """
        return frames.astype(np.float64).reshape(-1) * self.std + self.mean

    @property
    def nats_of_units(self) -> float:
        r"""Log-density of a standardised frame minus that of its samples of 16 bits, in nats.

        .. math:: \log p(x) - \log p(s) = D \log \mathrm{std}
        """
        return self.frame_size * float(np.log(self.std))


def measured(
    recordings: Iterable[np.ndarray], *, rate: int, frame_size: int, loudness: Loudness
) -> Audio:
    """The constants with mean and standard deviation of recordings.

    Args:
        recordings: for training, each (samples,), in the units of 16 bits.
        rate: samples per second.
        frame_size: samples per frame.
        loudness: as of `Audio`.

    Raises:
        DataError: all samples are equal.
    """
    count, total, squares = 0, 0.0, 0.0
    for samples in recordings:
        x = at_loudness(samples, loudness)
        count, total, squares = count + len(x), total + x.sum(), squares + np.square(x).sum()
    mean = total / count
    variance = squares / count - mean**2
    if variance <= 0:
        raise DataError("the training recordings are silent: all their samples are equal")
    return Audio(rate, frame_size, float(mean), float(np.sqrt(variance)), loudness)


def at_loudness(samples: np.ndarray, loudness: Loudness) -> np.ndarray:
    """Samples in double precision, scaled to the common level if loudness is "equal".

    Silence stays silent.
    """
    x = samples.astype(np.float64)
    if loudness == "recorded" or not x.any():
        return x
    return x * (10 ** (LEVEL / 20) * FULL_SCALE / root_mean_square(x))


def root_mean_square(samples: np.ndarray) -> float:
    """The root of the mean square of samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def decibels(samples: np.ndarray) -> float:
    """Root mean square of samples in dB relative to full scale; minus infinity for silence.

    >>> decibels(np.array([2**14, -(2**14)])).__round__(2)
    -6.02
    """
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(root_mean_square(samples) / FULL_SCALE))
