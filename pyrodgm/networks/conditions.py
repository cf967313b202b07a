"""What networks see of conditions: the features that a model is given and does not model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError


class Conditions(nn.Module):
    r"""The conditions of every frame, standardised by their moments in training.

    .. math:: u_t \mapsto (u_t - m) / s

    One that never changes in training is zero in all frames: nothing can be learnt of it. Units do
    not matter, since the offset is taken off in double precision.

    Args:
        info: the data's facts.

    Attributes:
        dim: how many there are, U.

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
        """Those of a batch, (B, T, U), zero where padded; None where the data has none.

        Raises:
            DataError: the batch has others than the model was built for.
        """
        given = batch.conditions
        refuse_unless(self.dim, given)
        if given is None:
            return None
        standardised = (given - self.mean) * self.per_spread
        return standardised.to(batch.x.dtype).masked_fill(~batch.mask[..., None], 0)


def refuse_unless(number: int, conditions: Tensor | None) -> None:
    """Raise where frames do not come with as many conditions as a model was built for.

    Args:
        number: how many that is, U; zero for a model that takes none.
        conditions: what the frames come with, (..., U), or None.

    Raises:
        DataError: they do not.
    """
    found = 0 if conditions is None else conditions.shape[-1]
    if found == number:
        return
    if not number:
        raise DataError(
            f"these frames come with {found} conditions, and the model takes none: build it from "
            "the facts of this data (splits.info), or leave the conditions out"
        )
    raise DataError(
        f"the model is given {number} conditions in every frame, and these frames come with "
        f"{found or 'none'}; give {number}, in the order of training"
    )
