"""Restricted Boltzmann machines of binary rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.energy import EnergyModel
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means

MOST_BITS = 20  # largest size of the smaller layer for enumeration of its states
ROWS_AT_ONCE = 2**14  # states enumerated together: bounds memory


@final
class RBM(EnergyModel):
    r"""A restricted Boltzmann machine of independent rows.

    .. math::
        p(v, h) = \frac1Z \exp(b^\top v + c^\top h + h^\top W v), \qquad
        \log p(v) = b^\top v + \sum_j \mathrm{softplus}(c_j + W_j v) - \log Z

    Visible biases b start at the log-odds of the data.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H.
        init_scale: standard deviation of the initial weights.

    Shapes: ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: the data is not binary, or has missing values.

    Reference: Smolensky, Information processing in dynamical systems, 1986; Salakhutdinov and
    Murray, On the quantitative analysis of deep belief networks, 2008.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=False, density="unnormalised")
    companions: ClassVar[Companions] = Companions("none", "pcd", "mnist")
    base: Tensor

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 200,
        init_scale: Annotated[float, Field(ge=0)] = 0.01,
    ) -> None:
        super().__init__(info)
        if info.kind != "binary" or info.has_missing:
            what = "has missing values" if info.kind == "binary" else f"has {info.kind} values"
            raise DataError(
                f"'{info.name}' {what}; RBM scores rows of zeros and ones without missing values"
            )
        log_odds = means(info).clamp(LEAST_RATE, 1 - LEAST_RATE).logit()
        self.weight = nn.Parameter(init_scale * torch.randn(hidden_dim, info.dim))
        self.visible = nn.Parameter(log_odds.clone())
        self.hidden = nn.Parameter(torch.zeros(hidden_dim))
        self.register_buffer("base", log_odds)

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """Minus the free energy, (..., B, T), of rows (..., B, T, D)."""
        del batch
        return x @ self.visible + F.softplus(self.hidden_log_odds(x)).sum(-1)

    def hidden_log_odds(self, x: Tensor) -> Tensor:
        """Log-odds of the hidden units given the visible ones, (..., H), of rows (..., D)."""
        return F.linear(x, self.weight, self.hidden)

    def visible_log_odds(self, h: Tensor) -> Tensor:
        """Log-odds of the visible units given the hidden ones, (..., D), of rows (..., H)."""
        return F.linear(h, self.weight.T, self.visible)

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """All hidden units given the visible ones, then all visible units given these."""
        del batch
        h = self.hidden_log_odds(x).sigmoid().bernoulli()
        return self.visible_log_odds(h).sigmoid().bernoulli()

    @property
    def enumerable(self) -> bool:
        """Whether the smaller layer has at most 20 units."""
        return min(self.weight.shape) <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        r"""The exact log Z: the smaller layer is enumerated, the other one summed out.

        .. math:: Z = \sum_h \exp\Big(c^\top h + \sum_i \mathrm{softplus}(b_i + (W^\top h)_i)\Big)

        Raises:
            CompatibilityError: both layers have more than 20 units.
        """
        if not self.enumerable:
            h, d = self.weight.shape
            raise CompatibilityError(
                f"this RBM has {d} visible and {h} hidden units, but log Z can be enumerated only "
                f"if one of them is at most {MOST_BITS}; use --estimator ais"
            )
        weight, hidden, visible = self.weight.double(), self.hidden.double(), self.visible.double()
        if len(hidden) <= len(visible):
            return _log_sum(weight, hidden, visible)
        return _log_sum(weight.T, visible, hidden)

    def annealing(self) -> BaseRatePath:
        """From independent bits at the log-odds of the data to this model."""
        return BaseRatePath(self.weight, self.visible, self.hidden, self.base)


def _log_sum(weight: Tensor, few: Tensor, many: Tensor) -> Tensor:
    """Log of the sum over all states of the few units, (S, M) weights, the many summed out."""
    count = len(few)
    bits = torch.arange(count, device=few.device)
    parts = []
    for numbers in torch.arange(2**count, device=few.device).split(ROWS_AT_ONCE):
        states = ((numbers[:, None] >> bits) & 1).to(few)
        nats = states @ few + F.softplus(many + states @ weight).sum(-1)
        parts.append(nats.logsumexp(0))
    return torch.stack(parts).logsumexp(0)


@dataclass(frozen=True)
class BaseRatePath:
    r"""Annealing of a restricted Boltzmann machine from independent bits.

    .. math::
        \phi_\beta(v) = ((1 - \beta) a + \beta b)^\top v
            + \sum_j \mathrm{softplus}(\beta (c_j + W_j v))

    Each member is a restricted Boltzmann machine too.

    Args:
        weight: W, (H, D).
        visible: b, (D,).
        hidden: c, (H,).
        base: log-odds a of the start, (D,).

    Reference: Salakhutdinov and Murray, On the quantitative analysis of deep belief networks,
    2008, section 4.1.
    """

    weight: Tensor
    visible: Tensor
    hidden: Tensor
    base: Tensor

    def log_normaliser(self) -> Tensor:
        """Log Z of independent bits, with a factor of two for every hidden unit."""
        units = torch.zeros_like(self.hidden, dtype=torch.float64)
        return F.softplus(self.base.double()).sum() + F.softplus(units).sum()

    def start(self, num: int) -> Tensor:
        """Independent bits, (num, D)."""
        return self.base.sigmoid().expand(num, -1).bernoulli()

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        log_odds = F.linear(x, self.weight, self.hidden)
        hidden = F.softplus(high * log_odds) - F.softplus(low * log_odds)
        return (high - low) * (x @ (self.visible - self.base)) + hidden.sum(-1)

    def move(self, x: Tensor, beta: float) -> Tensor:
        """Hidden units given rows (num, D), then rows given these."""
        h = (beta * F.linear(x, self.weight, self.hidden)).sigmoid().bernoulli()
        visible = self.base + beta * (self.visible - self.base + h @ self.weight)
        return visible.sigmoid().bernoulli()
