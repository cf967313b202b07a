"""Ridge autoregression in the dual form, for fewer frames than inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.trivial.lookback import carried, lags, pairs


class DualRidgeAR:
    r"""`RidgeAR` by a linear system of size N, the number of frames, instead of n D.

    .. math:: W = U^T A, \qquad
        A = (U U^T + \lambda \tfrac{\mathrm{tr}\, U U^T}{n D} I)^{-1} X, \qquad
        W^T u = A^T U u

    Rows of X are the N frames t >= 2 of training, rows of U the n frames before each. Predictions
    equal those of `RidgeAR`. Memory is for N n D numbers, where the primal form takes (n D)^2; the
    weights W are never formed.

    Args:
        train: training sequences.
        valid: sequences on which the penalty is chosen.
        order: number of frames before, n.
        centre: training mean, (D,).
        penalties: the grid.

    Reference: Saunders, Gammerman and Vovk, Ridge regression learning algorithm in dual variables,
    1998, equation 8.
    """

    def __init__(
        self,
        train: Sequences,
        valid: Sequences,
        order: int,
        centre: Tensor,
        penalties: Sequence[float],
    ) -> None:
        self.order, self.centre = order, centre
        inputs, frames, seen = zip(*pairs(train, order, centre), strict=True)
        self.inputs, seen = torch.cat(inputs), torch.cat(seen)
        outputs = torch.cat(frames) * (len(seen) / seen.sum(0).clamp(min=1))
        kernel = self._kernel(self.inputs)
        scale = (kernel.trace() / self.inputs.shape[1]).clamp(min=1e-12)
        eye = torch.eye(len(kernel), dtype=kernel.dtype)
        solved = (
            (penalty, torch.linalg.solve(kernel + penalty * scale * eye, outputs.to(kernel)))
            for penalty in penalties
        )
        self.penalty, self.dual = min(solved, key=lambda pair: self._error(valid, pair[1]))

    def state(self) -> dict[str, Tensor]:
        """The fitted parameters, for `from_state`."""
        return {"centre": self.centre, "inputs": self.inputs, "dual": self.dual}

    @classmethod
    def from_state(cls, order: int, state: Mapping[str, Tensor]) -> DualRidgeAR:
        """The autoregression with this state, without its data."""
        made = cls.__new__(cls)
        made.order, made.centre = order, state["centre"]
        made.inputs, made.dual = state["inputs"], state["dual"]
        return made

    def __call__(self, batch: Batch) -> Tensor:
        """Predictions of every frame, (B, T, D)."""
        centre = self.centre.to(batch.x)
        u = lags(carried(batch) - centre, self.order).flatten(0, 1)
        return centre + (self._kernel(u) @ self.dual).view_as(batch.x).to(centre)

    def _kernel(self, u: Tensor) -> Tensor:
        """U u for inputs u (F, n D), in double precision, (F, N)."""
        found = torch.zeros(len(u), len(self.inputs), dtype=torch.float64)
        blocks = zip(u.chunk(self.order, -1), self.inputs.chunk(self.order, -1), strict=True)
        for one, other in blocks:
            found += one.double() @ other.double().T
        return found

    def _error(self, sequences: Sequences, dual: Tensor) -> float:
        """The squared error of all frames, without terms that do not depend on the prediction.

        Weighted over missing values as in `pyrodgm.evaluate.trivial.predictors.Moments`.
        """
        agreed, observed = torch.zeros(2, len(self.centre), dtype=torch.float64)
        squares, number = 0.0, 0
        for u, frames, seen in pairs(sequences, self.order, self.centre):
            expected = self._kernel(u) @ dual
            agreed += (expected * frames).sum(0)
            observed += seen.sum(0)
            squares += float(expected.square().sum())
            number += len(u)
        return squares - 2 * float((agreed * number / observed.clamp(min=1)).sum())
