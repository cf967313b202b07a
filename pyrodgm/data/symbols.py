"""Symbols of categorical data and their frequencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyrodgm.errors import DataError

SymbolTuples = tuple[tuple[int, ...], ...]


def symbol_facts(splits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The facts of `DataInfo` about symbols: those of all splits, with training frequencies.

    Args:
        splits: frames under "train", "valid" and "test", each (frames, D).
    """
    symbols = symbols_of(splits.values())
    return {"symbols": symbols, "frequencies": frequencies_of(splits["train"], symbols)}


def symbols_of(arrays: Iterable[np.ndarray]) -> SymbolTuples:
    """The different values of every feature in all arrays, in ascending order.

    Args:
        arrays: whole numbers, each (frames, D); NaN where one is missing.

    >>> symbols_of([np.array([[1, 5], [2, 5]]), np.array([[6.0, np.nan]])])
    ((1, 2, 6), (5,))
    """
    found = [[np.unique(column) for column in x.T] for x in arrays]
    merged = [np.unique(np.concatenate(of_feature)) for of_feature in zip(*found, strict=True)]
    return tuple(tuple(map(int, values[~np.isnan(values)].tolist())) for values in merged)


def indicators(x: np.ndarray, symbols: Sequence[Sequence[int]]) -> np.ndarray:
    """One-hot coding of the symbol of every feature, (..., D) to (..., S); zeros where missing.

    >>> indicators(np.array([[2.0, 5.0]]), [(1, 2), (5, 6, 7)])
    array([[0., 1., 1., 0., 0.]], dtype=float32)
    """
    owner = np.repeat(np.arange(len(symbols)), [len(own) for own in symbols])
    return (x[..., owner] == np.concatenate(symbols)).astype(np.float32)


def frequencies_of(x: np.ndarray, symbols: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """The share of every symbol among the observed values of its feature, end to end, (S,).

    Args:
        x: (frames, D); NaN where a value is missing.
        symbols: of every feature, in ascending order.

    >>> frequencies_of(np.array([[1.0], [1.0], [6.0], [np.nan]]), [(1, 2, 6)])
    (0.6666666666666666, 0.0, 0.3333333333333333)
    """
    shares = []
    for column, own in zip(x.T, symbols, strict=True):
        values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        count = np.zeros(len(own))
        count[np.searchsorted(np.array(own), values)] = counts
        shares.append(count / max(1, counts.sum()))
    return tuple(np.concatenate(shares).tolist())


def refuse_other_symbols(x: np.ndarray, symbols: Sequence[Sequence[int]], name: str) -> None:
    """Raise if a value is not among the symbols of the data that a model was fitted on.

    Args:
        x: (frames, D); NaN where a value is missing.
        symbols: of every feature.
        name: of the array, for the message.

    Raises:
        DataError: with the first such value.
    """
    for feature, (column, own) in enumerate(zip(x.T, symbols, strict=True)):
        unknown = ~(np.isin(column, np.array(own)) | np.isnan(column))
        if unknown.any():
            frame = int(unknown.argmax())
            shown = ", ".join(map(str, own[:8])) + (", ..." if len(own) > 8 else "")
            raise DataError(
                f"frame {frame} of '{name}' has the symbol {column[frame]:g} in feature {feature}, "
                f"which the data of the fit does not have (it has {shown}); fit again with data "
                "that has it, or give NaN for a missing value"
            )
