"""Trivial predictors of categorical data: how often symbols occur, and what follows each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions import Symbols

PSEUDO_COUNT = 0.5  # of every symbol, and of every pair of them: what is never seen may happen
MOST_SYMBOLS = 2_000  # whose pairs are counted
NUMBERS_AT_ONCE = 2**22  # bounds memory, not results

SymbolPredictor = Callable[[Batch], Tensor]


def symbol_counts(train: Sequences, info: DataInfo) -> dict[str, np.ndarray]:
    """All that `symbol_predictors` know of the training sequences.

    Args:
        train: fitted on these.
        info: facts of the data.

    Returns:
        "share" of every symbol, (S,), and "moves" from each to each, (S, S), each half a count up;
        without moves where there are more than 2000 symbols.
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
    r"""Predictors from a batch to the probabilities of all symbols in every frame, (B, T, S).

    Args:
        known: as of `symbol_counts`; of nothing, there are none.
        info: facts of the data.

    Returns:
        "independent": how often every symbol occurs in training, each with half a count more.
        "markov": a Markov chain per feature,
        :math:`p(c' \mid c) = (n_{cc'} + 1/2) / (\sum_{c''} n_{cc''} + C/2)`, that starts from
        these frequencies; what is missing is summed out. It is left out where there are more than
        2000 symbols.
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
    """The log-likelihood of what was observed of every sequence, (N,), in nats."""
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
    """Which symbols were observed, (B, T, S); none where padded or missing."""
    return symbols.one_hot(batch.x).double() * batch.mask[..., None]


def _shares(counts: Tensor, symbols: Symbols) -> Tensor:
    """Shares of the symbols of every feature, (..., S), each half a count up."""
    rows = symbols.rows(counts + PSEUDO_COUNT, 0.0)
    return symbols.end_to_end(rows / rows.sum(-1, keepdim=True))


def _moves(train: Sequences, symbols: Symbols) -> Tensor:
    """What follows each symbol, (S, S), rows of features that are zero between features."""
    pairs = torch.zeros(symbols.size, symbols.size, dtype=torch.float64)
    for batch in _batches(train, symbols):
        seen = _seen_symbols(batch, symbols)
        pairs += seen[:, :-1].flatten(0, 1).T @ seen[:, 1:].flatten(0, 1)
    own = symbols.owner[:, None] == symbols.owner
    return _shares(pairs, symbols) * own


def _chain(batch: Batch, symbols: Symbols, share: Tensor, moves: Tensor) -> Tensor:
    """The probabilities of every frame given what was observed before it, (B, T, S)."""
    seen = _seen_symbols(batch, symbols)
    known = batch.observed[..., symbols.owner]
    now = share.expand(batch.size, -1)
    frames = [now]
    for t in range(batch.length - 1):
        now = torch.where(known[:, t], seen[:, t], now) @ moves
        frames.append(now)
    return torch.stack(frames, 1)
