"""A log-likelihood of a split, or a bound on it, in both weightings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrodgm.display import json_number

if TYPE_CHECKING:
    import pandas as pd

LIKELIHOODS = ("exact", "quadrature")  # estimators of the log-likelihood itself
FILTERED_PATHS = "filter"  # of energy models, given hidden units of the past that a filter draws


@dataclass(frozen=True)
class Bound:
    """A lower bound on the log-likelihood of a split; higher is better.

    Args:
        estimator: "elbo", "iwae", "fivo", "ais" or "filter" for bounds; "exact" or "quadrature" for
            the log-likelihood itself.
        particles: draws per sequence, K; 1 for exact values, quadrature and ais.
        nats_per_example: mean over sequences.
        standard_error_nats_per_example: of that mean, over sequences.
        nats_per_frame: total over all frames, divided by their number (frame-weighted).
        standard_error_nats_per_frame: of that ratio, over sequences.
        nats_per_frame_sequence_weighted: mean over sequences of each sequence's mean per frame.
        standard_error_nats_per_frame_sequence_weighted: of that mean, over sequences.
        examples: number of sequences.
        frames: number of frames.
    """

    estimator: str
    particles: int
    nats_per_example: float
    standard_error_nats_per_example: float
    nats_per_frame: float
    standard_error_nats_per_frame: float
    nats_per_frame_sequence_weighted: float
    standard_error_nats_per_frame_sequence_weighted: float
    examples: int
    frames: int

    @classmethod
    def of(
        cls, per_sequence: np.ndarray, lengths: np.ndarray, estimator: str, particles: int = 1
    ) -> Bound:
        """The bound in both weightings, from one number per sequence.

        Args:
            per_sequence: nats of each sequence, (N,).
            lengths: frames of each sequence, (N,).
            estimator: name of the estimator.
            particles: draws per sequence, K; 1 for exact values, quadrature and ais.
        """
        count = len(per_sequence)
        per_frame = per_sequence.sum() / lengths.sum()
        # Long sequences have more nats and more frames: their ratio varies less than either.
        each = per_sequence / lengths
        beside = (per_sequence - per_frame * lengths) / lengths.mean()
        return cls(
            estimator=estimator,
            particles=1 if estimator in (*LIKELIHOODS, "ais") else particles,
            nats_per_example=float(per_sequence.mean()),
            standard_error_nats_per_example=standard_error(per_sequence),
            nats_per_frame=float(per_frame),
            standard_error_nats_per_frame=standard_error(beside),
            nats_per_frame_sequence_weighted=float(each.mean()),
            standard_error_nats_per_frame_sequence_weighted=standard_error(each),
            examples=count,
            frames=int(lengths.sum()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a standard error of a single sequence is null."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent numbers; NaN for a single number."""
    if len(values) < 2:
        return math.nan
    if not np.ptp(values):
        return 0.0  # where the computed deviation would be a rounding error
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def scores_table(
    nats: np.ndarray, lengths: np.ndarray, estimator: str, *, rows: np.ndarray | None = None
) -> pd.DataFrame:
    """Log-likelihoods of sequences as a table.

    Columns: ``sequence`` (row in the split), ``frames``, ``nats``, ``nats_per_frame`` and
    ``estimator``.

    Args:
        nats: of every sequence, (N,).
        lengths: frames of each, (N,).
        estimator: its name.
        rows: of the sequences in the split, (N,); 0, 1, 2 and so on if not given.
    """
    import pandas as pd  # slow to import

    return pd.DataFrame(
        {
            "sequence": np.arange(len(nats)) if rows is None else rows,
            "frames": lengths,
            "nats": nats,
            "nats_per_frame": nats / lengths,
            "estimator": estimator,
        }
    )
