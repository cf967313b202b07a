"""Conditions as inputs of networks: features of frames that are not modelled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError


class Conditions(nn.Module):
    r"""The conditions of every frame, standardised by their moments in training.

    .. math:: u_t \mapsto (u_t - m) / s

    A condition that is constant in training is zero in all frames, because nothing can be learned
    from it. Units have no effect; the offset is subtracted in double precision.

    Args:
        info: the data's facts.

    Attributes:
        dim: number of conditions, U.

    >>> Conditions(DataInfo("plain", "binary", 2, (0.5, 0.5), 3.0, 3)).dim
    0
    """

    mean: Tensor
    per_spread: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.dim = info.num_conditions
        spread = torch.tensor(info.condition_std, dtype=torch.float64)
        mean = torch.tensor(info.condition_mean, dtype=torch.float64)
        if self.dim:
            self.register_buffer("mean", mean, persistent=False)
            self.register_buffer(
                "per_spread", torch.where(spread > 0, 1 / spread, 0.0), persistent=False
            )

    def forward(self, batch: Batch) -> Tensor | None:
        """The conditions of a batch, (B, T, U), zero in padding; None if the data has none.

        Raises:
            DataError: the number of conditions differs from that of the model.
        """
        given = batch.conditions
        refuse_unless(self.dim, given)
        if given is None:
            return None
        standardised = (given - self.mean) * self.per_spread
        return standardised.to(batch.x.dtype).masked_fill(~batch.mask[..., None], 0)


def refuse_unless(number: int, conditions: Tensor | None) -> None:
    """Raise unless frames have the number of conditions of a model.

    Args:
        number: of the model, U; zero for a model without conditions.
        conditions: of the frames, (..., U), or None.

    Raises:
        DataError: the numbers differ.
    """
    found = 0 if conditions is None else conditions.shape[-1]
    if found == number:
        return
    if not number:
        raise DataError(
            f"these frames have {found} conditions, but the model takes none: build it from "
            "the facts of this data (splits.info), or leave the conditions out"
        )
    raise DataError(
        f"the model needs {number} conditions in every frame, but these frames have "
        f"{found or 'none'}; give {number}, in the order of training"
    )
