"""How well Markov chains move: mobility, acceptance, effective draws, and warnings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import ChainWarning
from pyrodgm.models.energy import EnergyModel
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means, spread
from pyrodgm.objectives.state import Apply, OwnState, Running, RunningFromFirst

if TYPE_CHECKING:
    from pyrodgm.objectives.moves import Moves

LEAST_MOBILITY = 0.01  # mobility below which there is a warning; of chains of real numbers:
LEAST_MOBILITY_OF_REALS = 0.0005
LEAST_ACCEPTANCE = 0.02
FAR = 100.0  # mean square of standardised features beyond which chains have left the data
EVERY = 10  # steps, of which one is measured
DECAY, DECAY_OF_ALL = 0.8, 0.95  # of averages over measured steps, and over all
SIZED = ("sgld", "sghmc", "mala", "discrete-langevin")  # kernels with a step size


class ChainHealth(OwnState):
    r"""Averages over training steps of what the chains of an energy model do in a step.

    Every tenth step is measured, as this costs as much as a small model.

    - mobility: squared distance between the codes of states before and after a step, relative to
      that of two independent rows of the data. For bits this is the number of bits that changed.
    - likeness: correlation over the chains, :math:`\rho`, of their potential before and after a
      step. As draws of an autoregression, K chains give
      :math:`K (1 - \rho) / (1 + \rho)` independent draws per step.
    - acceptance: mean probability with which proposals were accepted.

    Args:
        model: whose chains they are.
    """

    apart: Tensor

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.kind, self.codes = model.info.kind, model.codes
        self.register_buffer("apart", _apart(model.info), persistent=False)
        self.mobility = RunningFromFirst(DECAY)
        self.likeness_of_steps = RunningFromFirst(DECAY)
        self.acceptance = RunningFromFirst(DECAY)
        self.distance = Running(DECAY)
        self.undone = Running(DECAY_OF_ALL)
        self.steps = 0  # of training

    def finite(self, before: Tensor, after: Tensor) -> Tensor:
        """The states after a step, and those before it where they are not finite."""
        if self.kind != "real":
            return after
        lost = ~after.isfinite().all(-1, keepdim=True)
        if self.training:
            self.undone.update(lost.to(after.dtype).mean())
        return torch.where(lost, before, after)

    def measure(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """The mobility of a step, a scalar, of states (B, T, D)."""
        moved = (self.codes(after) - self.codes(before)).square().sum(-1)
        return (moved * mask).sum() / mask.sum() / self.apart

    def likeness(self, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
        """The correlation of potentials (B, T) before and after a step, in [0, 1]; 1 if unknown."""
        weight = mask / mask.sum()
        first, second = (each - (each * weight).sum() for each in (before, after))
        both = (first * second * weight).sum()
        scale = ((first.square() * weight).sum() * (second.square() * weight).sum()).sqrt()
        return (both / scale).clamp(0.0, 1.0).nan_to_num(1.0)

    def due(self) -> bool:
        """Count a training step; whether it is one that is measured."""
        self.steps += 1
        return self.steps % EVERY == 1

    def update(
        self,
        states: tuple[Tensor, Tensor],
        potentials: tuple[Tensor, Tensor],
        mask: Tensor,
        acceptance: Tensor,
    ) -> None:
        """Update the averages with those of a training step.

        Args:
            states: before and after it, (B, T, D).
            potentials: of the two, (B, T).
            mask: of frames, (B, T).
            acceptance: mean probability of acceptance, (B, T), or a number for all chains.
        """
        self.mobility.update(self.measure(*states, mask))
        self.likeness_of_steps.update(self.likeness(*potentials, mask))
        share = mask / mask.sum()  # to index by the mask, the host would wait for the device
        self.acceptance.update((acceptance * share).sum())
        if self.kind == "real":
            self.distance.update((self.codes(states[1]).square().mean(-1) * share).sum())

    def report(self, draws: Tensor, *, rejects: bool) -> dict[str, Tensor]:
        """The averages, as numbers of a training step.

        Args:
            draws: number of chains.
            rejects: whether proposals may be rejected.
        """
        likeness = self.likeness_of_steps.value
        found = {
            "chain_mobility": self.mobility.value,
            "chain_effective_draws": draws * (1 - likeness) / (1 + likeness),
        }
        return found | ({"chain_acceptance": self.acceptance.value} if rejects else {})

    def own_state(self) -> dict[str, Any]:
        """The number of training steps."""
        return {"steps": self.steps}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.steps = state["steps"]

    def move(self, change: Apply) -> None:
        """There are no tensors but buffers."""
        del change

    def warn(self, moves: Moves) -> None:
        """Warn of chains that do not represent the model.

        Warns:
            ChainWarning: they hardly move, are hardly accepted, left the data, or were not finite.
        """
        for text in self.warnings_of(moves):
            warnings.warn(text, ChainWarning, stacklevel=3)

    def warnings_of(self, moves: Moves) -> list[str]:
        """Sentences on chains that do not represent the model; empty if nothing is wrong."""
        found = []
        mobility, acceptance = float(self.mobility.value), float(self.acceptance.value)
        least = LEAST_MOBILITY_OF_REALS if self.kind == "real" else LEAST_MOBILITY
        rejected = moves.rejects and acceptance < LEAST_ACCEPTANCE
        if mobility < least and not rejected:
            found.append(_immobile(self.kind, mobility, moves))
        if rejected:
            smaller = " Lower objective.step_size." if moves.kind in SIZED else ""
            found.append(
                f"the Markov chains hardly accept: {acceptance:.2%} of the proposals of "
                f"{moves.kind} are accepted.{smaller or ' Lower fit.lr, or set fit.weight_decay.'}"
            )
        if float(self.distance.value) > FAR:
            found.append(
                "the Markov chains have left the data: their features have a root mean square of "
                f"{float(self.distance.value) ** 0.5:.3g} standard deviations of the data. Steps "
                "are too large, or the potential grows away from the data; lower "
                "objective.step_size or fit.lr, or set model.reference=marginals and "
                "fit.weight_decay"
            )
        if float(self.undone.value) > 0:
            found.append(
                "moves of the Markov chains ended in numbers that are not finite, and were undone; "
                "lower objective.step_size or fit.lr"
            )
        return found


def _immobile(kind: str, mobility: float, moves: Moves) -> str:
    """The warning of chains that hardly move."""
    sized = moves.kind in SIZED and not moves.rejects
    more = "objective.step_size or objective.steps" if sized else "objective.steps"
    if kind == "binary":
        what = f"a step changes {mobility:.2%} of the bits in which independent rows differ"
    else:
        what = f"the squared distance of a step is {mobility:.3%} of that between independent rows"
    return (
        f"the Markov chains hardly move: {what}, so they do not represent the model. "
        f"Lower fit.lr, set fit.weight_decay, or increase {more}"
    )


def spread_of(model: EnergyModel, x: Tensor, mask: Tensor) -> Tensor:
    """Mean squared distance between frames, relative to that of independent rows of the data.

    Args:
        model: whose codes of states are compared.
        x: frames, (B, T, D).
        mask: of frames, (B, T).
    """
    codes = model.codes(x)[mask]
    return 2 * codes.var(0, correction=0).sum() / _apart(model.info).to(codes.device)


def _apart(info: DataInfo) -> Tensor:
    """Mean squared distance between the codes of two independent rows, a scalar."""
    if info.kind == "binary":
        rates = means(info).clamp(LEAST_RATE, 1 - LEAST_RATE)
        return 2 * (rates * (1 - rates)).sum()
    if info.kind == "categorical":
        shares = torch.tensor(info.frequencies, dtype=torch.get_default_dtype())
        return 2 * (shares * (1 - shares)).sum().clamp(min=LEAST_RATE)
    if info.kind == "real":
        return 2.0 * (torch.tensor(info.std or (1.0,) * info.dim) > 0).sum().clamp(min=1)
    return 2 * spread(info).square().sum()
