"""The hidden states of a hidden Markov model, given whole sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.passes import chunks
from pyrodgm.models import HMM, Model

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class States:
    """States of every sequence, in the order of the split.

    Args:
        most_likely: the single most likely path of each sequence (Viterbi), (its length,).
        probabilities: of every state in every frame given the whole sequence (smoothing),
            (its length, C).
    """

    most_likely: list[np.ndarray]
    probabilities: list[np.ndarray]

    def to_frame(self) -> pd.DataFrame:
        """One row per frame: sequence, frame, the most likely state, and p0, p1, ..."""
        import pandas as pd  # slow to import

        lengths = [len(path) for path in self.most_likely]
        columns = {
            "sequence": np.repeat(np.arange(len(lengths)), lengths),
            "frame": np.concatenate([np.arange(length) for length in lengths]),
            "state": np.concatenate(self.most_likely),
        }
        probabilities = np.concatenate(self.probabilities)
        return pd.DataFrame(columns | {f"p{c}": p for c, p in enumerate(probabilities.T)})

    def summary(self) -> list[dict[str, Any]]:
        """Frequency and mean duration of every state.

        Keys: ``state``, ``share`` of frames on the most likely paths, ``probability`` averaged over
        frames, and ``mean_length`` of its visits on those paths, in frames (None if never visited).
        """
        num_states = self.probabilities[0].shape[1]
        frames = np.concatenate(self.most_likely)
        begins = np.concatenate(
            [path[np.flatnonzero(np.diff(path, prepend=-1))] for path in self.most_likely]
        )
        counts = np.bincount(frames, minlength=num_states)
        stays = np.bincount(begins, minlength=num_states)
        mean = np.concatenate(self.probabilities).mean(0)
        return [
            {
                "state": state,
                "share": float(counts[state] / len(frames)),
                "probability": float(mean[state]),
                "mean_length": float(counts[state] / stays[state]) if stays[state] else None,
            }
            for state in range(num_states)
        ]


def states(model: Model, sequences: Sequences) -> States:
    """The states of every sequence, by smoothing and by the Viterbi algorithm.

    Args:
        model: a hidden Markov model.
        sequences: N sequences; missing values are summed out.

    Raises:
        UsageError: the model has no discrete states that are summed out.

    Reference: Rabiner, A tutorial on hidden Markov models, 1989, equations 27 and 32 to 35.
    """
    if not isinstance(model, HMM):
        raise UsageError(
            f"{type(model).__name__} has no states of a hidden Markov chain; use the model hmm. "
            "Draws of other latent variables are in posterior.nc (pyrodgm check) and "
            "run.to_datatree()"
        )
    device = next(model.parameters()).device
    most_likely: list[np.ndarray] = [np.empty(0)] * len(sequences)
    probabilities: list[np.ndarray] = [np.empty(0)] * len(sequences)
    with torch.no_grad():
        for rows, _ in chunks(sequences.lengths, 1):
            batch = sequences.batch(rows).to(device)
            paths = model.most_likely_states(batch).cpu().numpy()
            smoothed = model.log_states(batch).exp().cpu().numpy()
            for place, row in enumerate(rows):
                length = sequences.lengths[row]
                most_likely[row] = paths[place, :length]
                probabilities[row] = smoothed[place, :length]
    return States(most_likely, probabilities)
