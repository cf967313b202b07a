"""Trivial predictors of categorical data: symbol frequencies, and Markov chains per feature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions import Symbols

PSEUDO_COUNT = 0.5  # added to every symbol and pair, so that unseen ones have positive probability
MOST_SYMBOLS = 2_000  # limit for counting pairs of symbols
NUMBERS_AT_ONCE = 2**22  # bounds memory, not results

SymbolPredictor = Callable[[Batch], Tensor]


def symbol_counts(train: Sequences, info: DataInfo) -> dict[str, np.ndarray]:
    """Statistics of the training sequences used by `symbol_predictors`.

    Args:
        train: training sequences.
        info: facts of the data.

    Returns:
        "share" of every symbol, (S,), and "moves", the transitions between symbols, (S, S), both
        smoothed by half a count; no moves if there are more than 2000 symbols.
    """
    symbols = Symbols(info.symbols)
    counted = torch.zeros(symbols.size, dtype=torch.float64)
    for batch in _batches(train, symbols):
        counted += _seen_symbols(batch, symbols).sum((0, 1))
    known = {"share": _shares(counted, symbols).numpy()}
    if symbols.size <= MOST_SYMBOLS:
        known["moves"] = _moves(train, symbols).numpy()
    return known


def symbol_predictors(
    known: Mapping[str, np.ndarray], info: DataInfo
) -> dict[str, SymbolPredictor]:
    r"""Predictors that map a batch to the probabilities of all symbols in every frame, (B, T, S).

    Args:
        known: from `symbol_counts`; if empty, there are no predictors.
        info: facts of the data.

    Returns:
        "independent": training frequencies of the symbols, smoothed by half a count. "markov": a
        Markov chain per feature,
        :math:`p(c' \mid c) = (n_{cc'} + 1/2) / (\sum_{c''} n_{cc''} + C/2)`, that starts from
        these frequencies; missing values are summed out. It is omitted if there are more than 2000
        symbols.
    """
    if "share" not in known:
        return {}
    symbols, share = Symbols(info.symbols), torch.from_numpy(known["share"])
    found: dict[str, SymbolPredictor] = {
        "independent": lambda batch: share.expand(*batch.mask.shape, -1)
    }
    if "moves" in known:
        moves = torch.from_numpy(known["moves"])
        found["markov"] = lambda batch: _chain(batch, symbols, share, moves)
    return found


def log_scores(predictor: SymbolPredictor, sequences: Sequences, info: DataInfo) -> np.ndarray:
    """The log-likelihood of the observed values of every sequence, (N,), in nats."""
    symbols, nats = Symbols(info.symbols), np.empty(len(sequences))
    for batch in _batches(sequences, symbols):
        each = torch.xlogy(_seen_symbols(batch, symbols), predictor(batch))
        nats[batch.index.numpy()] = each.sum((1, 2)).numpy()
    return nats


def _batches(sequences: Sequences, symbols: Symbols) -> Iterator[Batch]:
    frames = max(1, NUMBERS_AT_ONCE // symbols.size)
    for rows in evaluation_batches(sequences.lengths, frames):
        yield sequences.batch(rows)


def _seen_symbols(batch: Batch, symbols: Symbols) -> Tensor:
    """One-hot coding of observed symbols, (B, T, S); zeros in padding and where missing."""
    return symbols.one_hot(batch.x).double() * batch.mask[..., None]


def _shares(counts: Tensor, symbols: Symbols) -> Tensor:
    """Shares of the symbols of every feature, (..., S), smoothed by half a count."""
    rows = symbols.rows(counts + PSEUDO_COUNT, 0.0)
    return symbols.end_to_end(rows / rows.sum(-1, keepdim=True))


def _moves(train: Sequences, symbols: Symbols) -> Tensor:
    """Transition probabilities between symbols of the same feature, (S, S); else zero."""
    pairs = torch.zeros(symbols.size, symbols.size, dtype=torch.float64)
    for batch in _batches(train, symbols):
        seen = _seen_symbols(batch, symbols)
        pairs += seen[:, :-1].flatten(0, 1).T @ seen[:, 1:].flatten(0, 1)
    own = symbols.owner[:, None] == symbols.owner
    return _shares(pairs, symbols) * own


def _chain(batch: Batch, symbols: Symbols, share: Tensor, moves: Tensor) -> Tensor:
    """Probabilities of the symbols of every frame given earlier observations, (B, T, S)."""
    seen = _seen_symbols(batch, symbols)
    known = batch.observed[..., symbols.owner]
    now = share.expand(batch.size, -1)
    frames = [now]
    for t in range(batch.length - 1):
        now = torch.where(known[:, t], seen[:, t], now) @ moves
        frames.append(now)
    return torch.stack(frames, 1)
