"""The check that the loss and the gradient of every turn are finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.objectives import Loss, Phase
from pyrodgm.train.nonfinite import NonFiniteLoss
from pyrodgm.train.turns import Stepping


class FiniteCheck:
    """Checks every turn, either at once or while the device computes the next turn.

    The immediate check reads a number from the device after every gradient, for which the host
    waits. With the deferred check it never waits for the newest turn: optimisers skip their updates
    on the device from the first turn on that is not finite, and the host reads the flag of a turn
    after it has enqueued the gradient of the next one. Both raise the same error and leave the same
    parameters and the same state of optimisers.

    Nothing else is skipped. Until the host knows of the turn, `Phase.after` has run once more on
    parameters that have not changed, averages of weights have been updated with them, and chains,
    caches and running averages have moved. None of this is kept, because `settle` raises before
    anything is evaluated or written.

    Args:
        objective: the objective; its parameters are named in errors.
        optimizers: the optimisers of its phases.
        over_processes: the sum of a number over all processes; all call it at the same point.
        device: of the parameters.
        deferred: whether the check of a turn waits for the next one.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizers: Iterable[torch.optim.Optimizer],
        over_processes: Callable[[Tensor], Tensor],
        *,
        device: torch.device,
        deferred: bool,
    ) -> None:
        self.names = {id(parameter): name for name, parameter in objective.named_parameters()}
        self.over_processes = over_processes
        self.deferred = deferred
        self._pending: _Turn | None = None
        self._failed = torch.zeros((), device=device)  # 1 from the first turn that is not finite
        if deferred:
            for optimizer in optimizers:
                optimizer.found_inf = self._failed  # pyright: ignore[reportAttributeAccessIssue]

    @torch.no_grad()
    def __call__(self, stepping: Stepping, loss: Loss, batch: Batch, step: int) -> None:
        """Check a turn after its gradient is computed and before its update.

        Raises:
            NonFiniteLoss: this turn is not finite, or the one before if checks are deferred.
        """
        with_gradient = [p for p in stepping.parameters if p.grad is not None]
        # A sum is not finite if one term is not, and is the cheapest test.
        sums = [p.grad.sum() for p in with_gradient if p.grad is not None]
        finite = torch.isfinite(torch.stack([loss.surrogate.detach(), *sums]).sum())
        failed = self.over_processes((~finite).to(self._failed))
        if self.deferred:
            failed = torch.maximum(self._failed, failed.clamp(max=1), out=self._failed)
        turn = _Turn(stepping.phase, loss, batch, step, with_gradient, sums, _Flag(failed))
        if self.deferred:
            self.settle()
        self._pending = turn
        if not self.deferred:
            self.settle()

    def settle(self) -> None:
        """Wait for the check of the newest turn.

        Raises:
            NonFiniteLoss: it is not finite.
        """
        pending, self._pending = self._pending, None
        if pending is not None and pending.failed.read():
            self._failed.zero_()
            raise pending.error(self.names)


@dataclass(frozen=True)
class _Turn:
    """A turn, with all that its error names.

    Args:
        phase: the phase.
        loss: its loss.
        batch: its batch.
        step: number of the step, counted from one.
        parameters: those with a gradient.
        sums: of their gradients.
        failed: whether it is not finite.
    """

    phase: Phase
    loss: Loss
    batch: Batch
    step: int
    parameters: list[nn.Parameter]
    sums: list[Tensor]
    failed: _Flag

    def error(self, names: Mapping[int, str]) -> NonFiniteLoss:
        """The error of a turn that is not finite; names are those of parameters, by identity."""
        finite = torch.isfinite(torch.stack(self.sums)).tolist() if self.sums else []
        found = zip(self.parameters, finite, strict=True)
        bad = [names[id(parameter)] for parameter, fine in found if not fine]
        return NonFiniteLoss(self.phase, self.loss, self.batch, self.step, bad)


class _Flag:
    """A flag on its way from the device to the host."""

    def __init__(self, flag: Tensor) -> None:
        self._host = flag.to("cpu", non_blocking=True, copy=True)  # pinned, if it was on a GPU
        self._copied = torch.cuda.Event() if flag.is_cuda else None
        if self._copied is not None:
            self._copied.record()

    def read(self) -> bool:
        """The flag; waits for the copy, and for nothing that was enqueued later."""
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._host)
