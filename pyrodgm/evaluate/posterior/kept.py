"""How many draws of which sequences fit into memory? Decided by sizes, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrodgm.data.evaluation import Data
from pyrodgm.errors import UsageError
from pyrodgm.models import Model

MAX_BYTES = 2 * 2**30  # of a tree that is asked for
CHECK_BYTES = 256 * 2**20  # of one that a check makes: what does not fit is not kept
FEWEST_DRAWS = 10
WORK = 4e12  # draws x frames x parameters that importance weights may cost: a minute or two
FEWEST_SEQUENCES = 10


@dataclass(frozen=True)
class Kept:
    """What a tree of draws holds.

    Args:
        rows: of which sequences, (N',).
        draws: of each, S.
        flat: whether frames lie end to end, and not padded to the longest sequence.
    """

    rows: np.ndarray
    draws: int
    flat: bool


def affordable(model: Model, splits: Data, split: str, draws: int) -> Kept:
    """As many of the draws asked for as fit into 256 MiB, and ten at least.

    Frames lie end to end where ten draws would not fit with their padding. Where they do not fit so
    either, they are of fewer sequences, spread evenly over the split.

    Args:
        model: the model p.
        splits: the data.
        split: whose sequences.
        draws: of each that are asked for.

    Raises:
        UsageError: no draws.
    """
    if draws < 1:
        raise UsageError(f"posterior_draws is {draws}; give at least 1")
    lengths, fewest = splits[split].lengths, min(draws, FEWEST_DRAWS)
    kept = Kept(np.arange(len(lengths)), fewest, flat=False)
    if bytes_of(model, splits, split, kept) > CHECK_BYTES:
        flat = bool(lengths.min() < lengths.max())
        each = fewest * bytes_per_frame(model, splits)
        kept = Kept(spread(lengths, CHECK_BYTES // each), fewest, flat)
    most = fewest * CHECK_BYTES // bytes_of(model, splits, split, kept)
    return Kept(kept.rows, min(draws, max(fewest, most)), kept.flat)


def judged_rows(lengths: np.ndarray, each: float, wanted: int | None = None) -> np.ndarray:
    """Rows of the sequences that a guide is judged on, spread evenly over the split.

    Args:
        lengths: frames per sequence, (N,).
        each: draws x parameters, what a frame costs.
        wanted: how many; if not given, as many as take a minute or two, and ten at least.

    Raises:
        UsageError: none are wanted.
    """
    if wanted is not None and wanted < 1:
        raise UsageError(f"sequences is {wanted}; give at least 1")
    if wanted is None:
        rows = spread(lengths, int(WORK / each))
        if len(rows) >= min(FEWEST_SEQUENCES, len(lengths)):
            return rows
    return _spread(len(lengths), min(wanted or FEWEST_SEQUENCES, len(lengths)))


def _spread(total: int, count: int) -> np.ndarray:
    return np.arange(count) * total // count


def spread(lengths: np.ndarray, frames: int) -> np.ndarray:
    """Rows spread evenly over all, as many as have no more than so many frames; one at least.

    >>> spread(np.array([5, 5, 5, 5, 5]), 12).tolist()
    [0, 2]
    """
    count = len(lengths)
    while True:
        rows = _spread(len(lengths), count)
        total = int(lengths[rows].sum())
        if total <= frames or count == 1:
            return rows
        count = max(1, min(count - 1, count * frames // total))


def bytes_of(model: Model, splits: Data, split: str, kept: Kept) -> int:
    """Memory that the arrays of a tree take, its whole numbers stored as such."""
    lengths = splits[split].lengths[kept.rows]
    frames = int(lengths.sum()) if kept.flat else len(lengths) * int(lengths.max())
    return kept.draws * frames * bytes_per_frame(model, splits)


def bytes_per_frame(model: Model, splits: Data) -> int:
    """Memory of one draw of a frame: its latents, a replicate and a log-likelihood."""
    latent = sum(site.dim * (1 if site.kind == "binary" else 4) for site in model.latents.values())
    # Real numbers are stored as the data has them, in double precision.
    observed = {"binary": 1, "unit": 1, "real": 8}.get(splits.info.kind, 4)
    return latent + observed * sum(model.observed.values()) + 4


def refuse_large(model: Model, splits: Data, split: str, kept: Kept) -> None:
    """Refuse a tree that would not fit into 2 GiB.

    Raises:
        UsageError: no draws, or too many.
    """
    if kept.draws < 1:
        raise UsageError(f"draws is {kept.draws}; give at least 1")
    lengths = splits[split].lengths[kept.rows]
    padded = not kept.flat and bool(lengths.min() < lengths.max())
    # Where some frames are blank, whole numbers become floating-point ones, of four bytes.
    size = bytes_of(model, splits, split, kept) * (4 if padded else 1)
    if size <= MAX_BYTES:
        return
    most = kept.draws * MAX_BYTES // size
    ways = [f"at most {most} draws"] if most else []
    ways += ["flat=True, which takes no padding"] if padded else []
    raise UsageError(
        f"{kept.draws} draws of {len(lengths)} sequences would take {size / 2**30:.1f} GiB; give "
        f"{', or '.join([*ways, 'a split with fewer sequences'])}"
    )
