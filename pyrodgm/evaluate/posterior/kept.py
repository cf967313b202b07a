"""The number of draws and sequences that memory and time allow, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pyrodgm.arguments import check_whole
from pyrodgm.data.evaluation import Data
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.work import Work
from pyrodgm.models import Model

MAX_BYTES = 2 * 2**30  # limit for a requested tree
CHECK_BYTES = 256 * 2**20  # limit for the tree of a check, which keeps what fits
FEWEST_DRAWS = 10
WORK = 7e10  # limit of a check for importance weights, and again for replicates: 5 to 15 s
FEWEST_SEQUENCES = 10
ENOUGH_DRAWS = 30  # before sequences are fewer to limit the work


@dataclass(frozen=True)
class Kept:
    """The contents of a tree of draws.

    Args:
        rows: rows of its sequences, (N',).
        draws: per sequence, S.
        flat: whether frames are stored end to end, without padding.
    """

    rows: np.ndarray
    draws: int
    flat: bool


def affordable(model: Model, splits: Data, split: str, draws: int, work: Work) -> Kept:
    """As many of the requested draws as fit into 256 MiB and some seconds, and at least ten.

    If ten draws do not fit into memory with padding, frames are stored end to end. If they still
    do not fit, fewer sequences are used, spread evenly over the split. If 30 draws, or as many as
    fit into memory, would take longer, there are fewer sequences too, and at least ten.

    Args:
        model: the model p.
        splits: the data.
        split: name of the split.
        draws: requested draws per sequence.
        work: of a frame.

    Raises:
        UsageError: no draws.
    """
    check_whole(posterior_draws=draws)
    lengths, fewest = splits[split].lengths, min(draws, FEWEST_DRAWS)
    kept = Kept(np.arange(len(lengths)), fewest, flat=False)
    if bytes_of(model, splits, split, kept) > CHECK_BYTES:
        flat = bool(lengths.min() < lengths.max())
        each = fewest * bytes_per_frame(model, splits)
        kept = Kept(spread(lengths, CHECK_BYTES // each), fewest, flat)
    most = fewest * CHECK_BYTES // bytes_of(model, splits, split, kept)
    return _in_time(replace(kept, draws=min(draws, max(fewest, most))), lengths, work)


def _in_time(kept: Kept, lengths: np.ndarray, work: Work) -> Kept:
    """Fewer draws, and then fewer sequences, where all would take too long."""
    per_frame = WORK / lengths[kept.rows].sum()
    enough, draws = min(kept.draws, ENOUGH_DRAWS), kept.draws
    if work.each and work.of(draws) > per_frame:
        draws = max(enough, int((per_frame - work.once) / work.each))
    rows = kept.rows[_few_rows(lengths[kept.rows], work.of(draws))]
    return replace(kept, rows=rows, draws=draws)


def judged_rows(lengths: np.ndarray, each: float, wanted: int | None = None) -> np.ndarray:
    """Rows of the sequences used to check a guide, spread evenly over the split.

    Args:
        lengths: frames per sequence, (N,).
        each: operations per frame.
        wanted: number of sequences; by default as many as take some seconds, at least ten.

    Raises:
        UsageError: the number is less than one.
    """
    if wanted is not None:
        return spread_rows(len(lengths), wanted)
    return _few_rows(lengths, each)


def _few_rows(lengths: np.ndarray, each: float) -> np.ndarray:
    """As many evenly spread rows as a limit on operations allows, and at least ten."""
    rows = spread(lengths, int(WORK / each) if each else int(lengths.sum()))
    if len(rows) >= min(FEWEST_SEQUENCES, len(lengths)):
        return rows
    return spread_rows(len(lengths), FEWEST_SEQUENCES)


def spread_rows(total: int, wanted: int) -> np.ndarray:
    """At most so many rows, spread evenly.

    Args:
        total: number of rows.
        wanted: number of rows to choose.

    Raises:
        UsageError: the number is less than one.

    >>> spread_rows(6, 3).tolist(), spread_rows(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    check_whole(sequences=wanted)
    return _spread(total, min(wanted, total))


def _spread(total: int, count: int) -> np.ndarray:
    return np.arange(count) * total // count


def spread(lengths: np.ndarray, frames: int) -> np.ndarray:
    """Evenly spread rows with at most so many frames in total, and at least one row.

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
    """Memory of the arrays of a tree, with whole numbers as integers."""
    lengths = splits[split].lengths[kept.rows]
    frames = int(lengths.sum()) if kept.flat else len(lengths) * int(lengths.max())
    return kept.draws * frames * bytes_per_frame(model, splits)


def bytes_per_frame(model: Model, splits: Data) -> int:
    """Memory of one draw of a frame: its latents, a replicate and a log-likelihood."""
    small = {n for n, site in model.latents.items() if site.kind == "binary" or site.classes}
    latent = sum(site.dim * (1 if n in small else 4) for n, site in model.latents.items())
    # Real numbers are stored in the scale of the data, in double precision.
    observed = {"binary": 1, "unit": 1, "real": 8}.get(splits.info.kind, 4)
    return latent + observed * sum(model.observed.values()) + 4


def refuse_large(model: Model, splits: Data, split: str, kept: Kept) -> None:
    """Refuse a tree of more than 2 GiB.

    Raises:
        UsageError: no draws, or too many.
    """
    check_whole(draws=kept.draws)
    lengths = splits[split].lengths[kept.rows]
    padded = not kept.flat and bool(lengths.min() < lengths.max())
    # With blank frames, whole numbers become floats of four bytes.
    size = bytes_of(model, splits, split, kept) * (4 if padded else 1)
    if size <= MAX_BYTES:
        return
    most = kept.draws * MAX_BYTES // size
    ways = [f"at most {most} draws"] if most else []
    ways += ["flat=True, which needs no padding"] if padded else []
    raise UsageError(
        f"{kept.draws} draws of {len(lengths)} sequences would take {size / 2**30:.1f} GiB; give "
        f"{', or '.join([*ways, 'a split with fewer sequences'])}"
    )
