"""Vectors of categorical variables, each with its own symbols."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from pyrodgm.distributions.dot import dot

STATES_AT_ONCE = 2**12  # enumerated together: bounds memory


class Symbols(nn.Module):
    """The symbols of D categorical features, end to end: S of them in all.

    Args:
        symbols: of every feature, whole numbers in ascending order.

    Attributes:
        size: S.
        owner: the feature of each symbol, (S,).
        values: the symbols, (S,).

    >>> dice = Symbols([(1, 2, 3), (0, 5)])
    >>> dice.one_hot(torch.tensor([2.0, 5.0])).tolist()
    [0.0, 1.0, 0.0, 0.0, 1.0]
    """

    owner: Tensor
    values: Tensor
    table: Tensor
    place: Tensor
    blank: Tensor
    last: Tensor
    flat: Tensor

    def __init__(self, symbols: Sequence[Sequence[int]]) -> None:
        super().__init__()
        sizes = torch.tensor([len(own) for own in symbols])
        most = int(sizes.max())
        column = torch.arange(most)
        start = sizes.cumsum(0) - sizes
        self.size, self.same = int(sizes.sum()), bool((sizes == most).all())
        self._buffer("owner", torch.arange(len(symbols)).repeat_interleave(sizes))
        self._buffer("values", torch.tensor(list(chain.from_iterable(symbols))))
        # The same as a table with a row for every feature, (D, C), shorter rows padded.
        self._buffer("place", start[:, None] + column.clamp(max=sizes[:, None] - 1))
        self._buffer("table", self.values[self.place])
        self._buffer("blank", column >= sizes[:, None])
        self._buffer("last", column >= sizes[:, None] - 1)
        self._buffer("flat", (~self.blank).flatten().nonzero().squeeze(-1))

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def one_hot(self, x: Tensor) -> Tensor:
        """One-hot coding of the symbol of every feature, (..., D) to (..., S); zeros for none."""
        return (x[..., self.owner] == self.values).to(x.dtype)

    def rows(self, numbers: Tensor, blank: float) -> Tensor:
        """One number per symbol, (..., S), arranged with a row per feature, (..., D, C)."""
        if self.same:
            return numbers.unflatten(-1, self.place.shape)
        return numbers[..., self.place].masked_fill(self.blank, blank)

    def end_to_end(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`."""
        return rows.flatten(-2) if self.same else rows.flatten(-2)[..., self.flat]

    def states(self, like: Tensor) -> Iterator[Tensor]:
        """One-hot codings of all combinations of the symbols in portions, (N, S).

        Args:
            like: a tensor of the wanted dtype and device.

        >>> [len(part) for part in Symbols([(1, 2, 3), (0, 5)]).states(torch.zeros(1))]
        [6]
        """
        sizes = self.owner.bincount().tolist()
        for rest in torch.arange(math.prod(sizes), device=like.device).split(STATES_AT_ONCE):
            parts = []
            for size in sizes:
                parts.append(F.one_hot(rest % size, size))
                rest = rest // size
            yield torch.cat(parts, -1).to(like)

    def likeliest(self, probs: Tensor) -> Tensor:
        """The most probable symbol of every feature, (..., S) to (..., D)."""
        return self.chosen(self.rows(probs, -1.0).argmax(-1)).to(probs.dtype)

    def chosen(self, index: Tensor) -> Tensor:
        """The symbols with these indices, counted from zero for every feature, (..., D)."""
        return self.table.expand(*index.shape, -1).gather(-1, index[..., None]).squeeze(-1)


class CategoricalVector(TorchDistribution):
    r"""D independent categorical variables as one event; a value holds the symbols themselves.

    .. math:: \log p(x) = \sum_d \log \mathrm{softmax}(l_d)_{x_d}

    `OneHotVector` has their one-hot coding as a value.

    Args:
        logits: l of all symbols end to end, (..., S).
        symbols: the symbols. Values must be among them; this is checked where data is read.

    >>> die = CategoricalVector(torch.zeros(6), Symbols([(1, 2, 3, 4, 5, 6)]))
    >>> round(float(die.log_prob(torch.tensor([3.0])).exp() * 6), 5)
    1.0
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, symbols: Symbols) -> None:
        self.logits = logits
        self.symbols = symbols
        super().__init__(logits.shape[:-1], symbols.place.shape[:1], validate_args=False)

    @property
    def probs(self) -> Tensor:
        """Probability of every symbol, (..., S)."""
        return self.symbols.end_to_end(self.symbols.rows(self.logits, -math.inf).softmax(-1))

    @property
    def mean(self) -> Tensor:
        """Mean of the one-hot coding, (..., S), that is, the probabilities."""
        return self.probs

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> CategoricalVector:
        """The same variables over a larger batch."""
        logits = self.logits.expand(torch.Size(batch_shape) + self.logits.shape[-1:])
        return CategoricalVector(logits, self.symbols)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D)."""
        logits = self._exact_logits(value)
        return dot(self.symbols.one_hot(value), logits) - self._normalisers(logits).sum(-1)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed features; seen (..., D)."""
        logits = self._exact_logits(value)
        one_hot = self.symbols.one_hot(value) * seen[..., self.symbols.owner]
        return dot(one_hot, logits) - (self._normalisers(logits) * seen).sum(-1)

    def _exact_logits(self, value: Tensor) -> Tensor:
        """The logits, in single precision at least."""
        return self.logits.to(torch.promote_types(self.logits.dtype, value.dtype))

    def _normalisers(self, logits: Tensor) -> Tensor:
        """The logarithm of the sum over symbols of every feature, (..., D)."""
        return self.symbols.rows(logits, -math.inf).logsumexp(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Symbols, sample_shape + (..., D)."""
        return self.from_noise(self.noise(self._extended_shape(sample_shape)))

    def noise(self, shape: torch.Size) -> Tensor:
        """Uniform numbers, drawn before a loop that uses them frame by frame."""
        dtype = torch.promote_types(self.logits.dtype, torch.float32)
        return torch.rand(shape, dtype=dtype, device=self.logits.device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The symbols at this noise by the inverse of the cumulative distribution, (..., D)."""
        logits = self.logits.detach().to(noise.dtype)
        reached = self.symbols.rows(logits, -math.inf).softmax(-1).cumsum(-1)
        passed = (noise[..., None] >= reached) & ~self.symbols.last
        return self.symbols.chosen(passed.sum(-1)).to(noise.dtype)
