"""Independent features at the marginal distributions of the training data."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo, Kind
from pyrodgm.data.kinds import taken_for
from pyrodgm.distributions import BernoulliVector, CategoricalVector, NormalVector
from pyrodgm.errors import DataError
from pyrodgm.networks.codes import Codes
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means, spread


@final
class Marginals(nn.Module):
    r"""The distribution of a frame with independent features, each as in the training data.

    .. math:: q(x) = \prod_d q_d(x_d)

    where :math:`q_d` is the frequency of each value for bits and symbols, at least 0.001, and the
    normal distribution with mean and standard deviation of the feature for real numbers. The
    standard deviation of a constant feature is one.

    Args:
        info: the data's facts.
        scale: factor of the standard deviations of real numbers.

    Raises:
        DataError: values are neither bits, nor symbols, nor real numbers, or some are missing.

    >>> info = DataInfo("tiny", "binary", 2, (0.5, 0.25), 1.0, 1)
    >>> Marginals(info)().mean
    tensor([0.5000, 0.2500])
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("binary", "categorical", "real")
    numbers: Tensor

    def __init__(self, info: DataInfo, scale: float = 1.0) -> None:
        super().__init__()
        refuse_other_data(info, "Marginals", self.kinds)
        self.kind, self.codes = info.kind, Codes(info)
        self.register_buffer("numbers", _numbers(info, scale))
        self.scale = scale
        self.log_peak = self.codes.log_volume + info.dim * math.log(scale * math.sqrt(2 * math.pi))

    def forward(self) -> TorchDistribution:
        """The distribution of a frame, event (D,)."""
        if self.kind == "binary":
            return BernoulliVector(self.numbers)
        if self.codes.symbols is not None:
            return CategoricalVector(self.numbers, self.codes.symbols)
        return NormalVector(*self.numbers)

    def of_codes(self, codes: Tensor) -> Tensor:
        """Log-density of frames in nats, (...), from their codes (..., S); see `Codes`."""
        symbols = self.codes.symbols
        if self.kind == "real":  # chains follow its gradient in every move
            return (-0.5 / self.scale**2) * (codes * codes).sum(-1) - self.log_peak
        if symbols is None:
            return self().log_prob(codes)
        rows = symbols.rows(self.numbers, -torch.inf).log_softmax(-1)
        return codes @ symbols.end_to_end(rows)


def _numbers(info: DataInfo, scale: float) -> Tensor:
    """Log-odds (D,) of bits, logits (S,) of symbols, or mean and standard deviation (2, D)."""
    if info.kind == "binary":
        return means(info).clamp(LEAST_RATE, 1 - LEAST_RATE).logit()
    if info.kind == "categorical":
        shares = torch.tensor(info.frequencies, dtype=torch.get_default_dtype())
        return shares.clamp(min=LEAST_RATE).log()
    return torch.stack([means(info), scale * spread(info)])


def refuse_other_data(info: DataInfo, owner: str, kinds: tuple[Kind, ...]) -> None:
    """Raise unless data is of one of some kinds, without missing values.

    Raises:
        DataError: it is not.
    """
    if info.kind not in kinds:
        raise DataError(
            f"'{info.name}' has {info.kind} values, and {owner} is for {' or '.join(kinds)} "
            f"values{taken_for(info.kind, kinds)}"
        )
    if info.has_missing:
        raise DataError(
            f"'{info.name}' has missing values, and {owner} takes none; fill them in, or leave "
            "these frames out"
        )
