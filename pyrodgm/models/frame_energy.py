"""Models whose frames have an unnormalised density each, given the frames before."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.carried import Before
from pyrodgm.errors import CompatibilityError
from pyrodgm.models.energies import FrameEnergies
from pyrodgm.models.energy import EnergyModel

STATE = "state"  # what a model of frames given the past carries from chunk to chunk


class FrameEnergyModel(EnergyModel):
    r"""A model whose frames are normalised one by one, each given the frames before it.

    .. math::
        p(x) = \prod_t p(x_t \mid x_{<t}), \qquad
        p(x_t \mid x_{<t}) = \frac{1}{Z_t(s_{t-1})} \exp \phi(x_t; s_{t-1})

    where the state s summarises the past. In contrast to other energy models, the potential uses
    the observations of the batch: as the past of every frame. `filtered` says whether states are
    drawn, by a filter; then the mean of :math:`\sum_t \log p(x_t \mid s_{t-1})` is a lower bound on
    the log-likelihood.
    """

    filtered: ClassVar[bool] = False
    history = 1

    @abstractmethod
    def states(self, batch: Batch, num: int = 1) -> Tensor:
        """The state before every frame and after the last, (num, B, T + 1, S).

        States that are drawn have `num` independent paths. The first state is `carried(batch)`
        where the batch continues other frames.
        """

    def carried(self, batch: Batch) -> Tensor | None:
        """The state after the frames that the batch continues, (B, S); None if there are none."""
        return batch.before.states.get(STATE)

    def end(self, batch: Batch) -> Before:
        """What lies before the frame that follows a batch: a state, without gradients."""
        with torch.no_grad():
            state = self.states(batch)[0, :, -1]
        return Before(batch.before.frames + batch.length, states={STATE: state})

    @abstractmethod
    def frames(self, states: Tensor) -> FrameEnergies:
        """The distributions of frames given the states before them, (..., S)."""

    @abstractmethod
    def advance(self, states: Tensor, x: Tensor) -> Tensor:
        """The states after frames x (..., D) from those before, (..., S)."""

    def given(self, batch: Batch) -> FrameEnergies:
        """The distributions of all frames given the frames of the batch before them."""
        return self.frames(self.states(batch)[0, :, :-1])

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The unnormalised log-density by frame, (..., B, T), given the batch's frames before."""
        return self.given(batch).potential(x)

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """One sweep of draws of every frame given the batch's frames before, (..., B, T, D)."""
        return self.given(batch).gibbs(x)

    def log_normaliser(self) -> Tensor:
        """Refused: there is none that all frames share.

        Raises:
            CompatibilityError: always; `log_normalisers` are those of the frames of a batch.
        """
        raise CompatibilityError(
            f"log Z of {type(self).__name__} differs from frame to frame; log_normalisers(batch) "
            "gives those of a batch"
        )

    def log_normalisers(self, batch: Batch) -> Tensor:
        """The exact log Z of every frame given the batch's frames before, (B, T)."""
        return self.given(batch).log_normaliser()
