"""State of the Union addresses as counts of words in every year since 1790.

One sequence with a frame per year. Train, valid and test contain the same tokens of the same years.
Valid and test also hold out other tokens of these years, which are scored and never given to a
model. Test has one more frame, the last year: all of its values are missing, and all its tokens are
held out.

    train   x: most tokens of the years before the last
    valid   x: the same                  held out: some others of these years
    test    x: the same, then NaN        held out: further ones, then the whole last year
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyrodgm.access import is_denied, without_permission
from pyrodgm.data import local, ragged
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import DataError, UsageError
from pyrodgm.seeds import numpy_generator

COUNTS, VOCABULARY = "counts_by_year.npz", "vocab.txt"
KEYS = ("data", "indices", "indptr", "shape", "years")
SHAPE, TOKENS = (224, 7644), 766_546
WHAT = (
    "the addresses of 1790 to 2014, from the R package github.com/statsmaths/sotu: "
    f"{COUNTS}, the counts of words by year as the parts of a sparse matrix of 224 rows and 7644 "
    f"columns (data, indices, indptr, shape) and the years of its rows, and {VOCABULARY}, the word "
    "of each column on a line of its own"
)


def load(
    *,
    path: str | None = None,
    held_out_share: float = 0.2,
    valid_share: float = 0.05,
    least_total: int = 20,
    least_in_a_year: int = 5,
    seed: int = 0,
) -> Splits:
    """Counts of words in the State of the Union addresses, one frame per year.

    Args:
        path: the folder with both files, if it is not in a usual place.
        held_out_share: of the tokens of every year, rounded up, for testing.
        valid_share: of the tokens of every year, rounded up, for validation; disjoint from those
            for testing. The published protocol has no validation.
        least_total: words with a smaller total count over all years are dropped.
        least_in_a_year: words with a smaller count in every year are dropped. Both counts include
            the last year, as in the published protocol.
        seed: of the tokens that are held out.

    Raises:
        DataError: the data is not on this machine, or it is not the published dataset.
        UsageError: no tokens would be left for training.

    Reference: Gan et al., Deep temporal sigmoid belief networks for sequence modeling, 2015; their
    own counts were never published, so only numbers from this corpus are comparable.
    """
    if min(held_out_share, valid_share) < 0 or held_out_share + valid_share >= 1:
        raise UsageError(
            f"held_out_share {held_out_share} and valid_share {valid_share} must not be negative, "
            "and together less than 1"
        )
    folder = Path(path).expanduser() if path else _find()
    counts, years, words = read(folder)
    kept = (counts.sum(0) >= least_total) & (counts.max(0) >= least_in_a_year)
    if not kept.any():
        raise UsageError(f"no word is used {least_total} times, and {least_in_a_year} in a year")
    parts = _split(counts[:, kept], years, held_out_share, valid_share, seed)
    splits = Splits.of(
        "stu",
        "count",
        parts,
        words=tuple(word for word, keep in zip(words, kept, strict=True) if keep),
        frame_labels=tuple(map(str, years)),
    )
    notes = (
        f"{kept.sum()} of {len(words)} words are used at least {least_total} times, and "
        f"{least_in_a_year} in some year",
        "one sequence: valid and test contain the tokens of train and hold out others of the same "
        f"years; test ends with the year {years[-1]}, which is held out completely",
    )
    return replace(splits, sha256=local.sha256(folder / COUNTS, folder / VOCABULARY), notes=notes)


def _find() -> Path:
    return local.need("stu", "sotu", WHAT, COUNTS, VOCABULARY).parent


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Counts (years, words), the years, and the words.

    Raises:
        DataError: a file is missing, damaged, or not the published one.
    """
    try:
        words = (folder / VOCABULARY).read_text(encoding="utf-8").splitlines()
        with np.load(folder / COUNTS, allow_pickle=False) as archive:
            data, indices, indptr, shape, years = (archive[key] for key in KEYS)
        counts = np.zeros(shape, np.int64)
        counts[np.repeat(np.arange(len(years)), np.diff(indptr)), indices] = data
    except (*ragged.DAMAGED, KeyError, IndexError) as error:
        if isinstance(error, OSError) and is_denied(error):
            raise DataError(without_permission(error)) from error
        raise DataError(
            f"'{folder}' does not hold the published stu ({error}); it is {WHAT}"
        ) from error
    if (counts.shape, counts.sum(), len(words)) != (SHAPE, TOKENS, SHAPE[1]):
        raise DataError(
            f"'{folder}' does not hold the published stu: expected {SHAPE} counts of {TOKENS} "
            f"tokens, found {counts.shape}, {counts.sum()} and {len(words)} words; it is {WHAT}"
        )
    return counts, years, words


def _split(
    counts: np.ndarray, years: np.ndarray, held_out_share: float, valid_share: float, seed: int
) -> dict[str, Sequences]:
    """The three splits described at the top of this file, from counts (years, words)."""
    test, valid = np.zeros_like(counts[:-1]), np.zeros_like(counts[:-1])
    for t, tokens in enumerate(counts[:-1]):
        rng = numpy_generator(seed, "stu", str(years[t]))
        test[t] = rng.multivariate_hypergeometric(tokens, _share(held_out_share, tokens))
        rest = tokens - test[t]
        num = min(_share(valid_share, tokens), rest.sum())
        valid[t] = rng.multivariate_hypergeometric(rest, num)
    given = (counts[:-1] - test - valid).astype(np.float32)
    last = np.full((1, counts.shape[1]), np.nan, np.float32)
    length = np.array([len(given)])
    return {
        "train": Sequences(given, length),
        "valid": Sequences(given, length, held_out=valid.astype(np.float32)),
        "test": Sequences(
            np.concatenate([given, last]),
            length + 1,
            held_out=np.concatenate([test, counts[-1:]]).astype(np.float32),
        ),
    }


def _share(share: float, tokens: np.ndarray) -> int:
    """A share of the number of tokens, rounded up; 0.2 of 555 is exactly 111."""
    return math.ceil(round(share * int(tokens.sum()), 9))
