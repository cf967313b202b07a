"""The distribution of a restricted Boltzmann machine with softmax visible units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrodgm.distributions import CategoricalVector, Symbols
from pyrodgm.errors import CompatibilityError
from pyrodgm.models.machine import MOST_BITS, Machine, MachinePath, bits, log_sum


@dataclass(frozen=True)
class SymbolMachine:
    r"""A restricted Boltzmann machine of symbols and hidden bits.

    .. math::
        p(x, h) = \frac1Z \exp(b^\top v + c^\top h + h^\top W v), \qquad v = \mathrm{onehot}(x)

    The codings of the D symbols lie end to end in v, (S,), so that given the hidden units each
    symbol has the probabilities :math:`\mathrm{softmax}(b + W^\top h)` within its part of v.

    Args:
        units: the machine with weights W (H, S) and biases b and c, whose visible units are the
            codings; its `base` holds the logits of independent symbols at which annealing starts.
        symbols: of the D features.

    Reference: Salakhutdinov, Mnih and Hinton, Restricted Boltzmann machines for collaborative
    filtering, 2007, equations 1 to 4.
    """

    units: Machine
    symbols: Symbols

    def potential(self, x: Tensor) -> Tensor:
        """Minus the free energy, (...), of rows (..., D)."""
        return self.units.potential(self.symbols.one_hot(x))

    def hidden_log_odds(self, x: Tensor) -> Tensor:
        """Log-odds of the hidden units given the visible ones, (..., H), of rows (..., D)."""
        return self.units.hidden_log_odds(self.symbols.one_hot(x))

    def given_hidden(self, h: Tensor) -> CategoricalVector:
        """The distribution of rows given hidden units, (..., H)."""
        return CategoricalVector(self.units.visible_log_odds(h), self.symbols)

    def gibbs(self, x: Tensor) -> Tensor:
        """All hidden units given the visible ones, then all visible units given these."""
        return self.given_hidden(bits(self.hidden_log_odds(x))).sample()

    @property
    def enumerable(self) -> bool:
        """Whether there are at most 20 hidden units, or as many states of the symbols."""
        return min(len(self.units.hidden), self._bits) <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        r"""The exact log Z, in double precision, a scalar: the larger layer is summed out.

        .. math:: Z = \sum_h \exp\Big(c^\top h + \sum_d \log \sum_{s \in d} e^{b_s + (W^\top h)_s}
            \Big)

        Raises:
            CompatibilityError: both layers have more states than 20 bits.
        """
        units, count = self.units, len(self.units.hidden)
        if not self.enumerable:
            raise CompatibilityError(
                f"this RBM has {count} hidden units and symbols with 2^{self._bits:.1f} states, "
                f"but log Z can be enumerated only if one of the layers has at most 2^{MOST_BITS} "
                "states; use --estimator ais"
            )
        weight, visible, hidden = units.weight.double(), units.visible.double(), units.hidden
        if count <= self._bits:
            return log_sum(weight, hidden.double(), visible, self._summed_out)
        double = Machine(weight, visible, hidden.double(), units.base)
        parts = [double.potential(v).logsumexp(0) for v in self.symbols.states(visible)]
        return torch.stack(parts).logsumexp(0)

    def annealing(self) -> SymbolPath:
        """From independent symbols to this machine."""
        return SymbolPath(self)

    @property
    def _bits(self) -> float:
        """The binary logarithm of the number of states of the symbols."""
        return math.fsum(self.symbols.owner.bincount().log2().tolist())

    def _summed_out(self, logits: Tensor) -> Tensor:
        """Log Z of independent symbols, (...), of logits (..., S)."""
        return self.symbols.rows(logits, -math.inf).logsumexp(-1).sum(-1)


@dataclass(frozen=True)
class SymbolPath:
    r"""Annealing of a machine of symbols from independent symbols.

    .. math::
        \phi_\beta(x) = ((1 - \beta) a + \beta b)^\top v
            + \sum_j \mathrm{softplus}(\beta (c_j + W_j v)), \qquad v = \mathrm{onehot}(x)

    Args:
        machine: the end of the path.
    """

    machine: SymbolMachine

    def log_normaliser(self) -> Tensor:
        """Log Z of independent symbols, with a factor of two for every hidden unit."""
        units = self.machine.units
        return self.machine._summed_out(units.base.double()) + len(units.hidden) * math.log(2)

    def start(self, num: int) -> Tensor:
        """Independent symbols, (num, D)."""
        base = self.machine.units.base
        return CategoricalVector(base.expand(num, -1), self.machine.symbols).sample()

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        coded = self.machine.symbols.one_hot(x)
        return MachinePath(self.machine.units).log_ratio(coded, low, high)

    def move(self, x: Tensor, beta: float) -> Tensor:
        """Hidden units given rows (num, D), then rows given these."""
        units = self.machine.units
        logits = units.visible_log_odds(bits(beta * self.machine.hidden_log_odds(x)))
        tempered = units.base + beta * (logits - units.base)
        return CategoricalVector(tempered, self.machine.symbols).sample()
