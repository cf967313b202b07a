"""Our objectives inside Pyro's own machinery: for `pyro.infer.SVI` and any Pyro program."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from itertools import count
from typing import Any

import pyro
import pyro.infer
import torch
from torch import Tensor, nn

from pyrodgm.errors import UsageError
from pyrodgm.objectives.base import SinglePhase
from pyrodgm.stepwise import stepwise_log_probs
from pyrodgm.traces import LogProbs

Program = Callable[..., Any]


class _PlainProgram(nn.Module):
    """Stands in for the model or guide that an objective is built on; only its shape is known."""

    def __init__(self, observed: dict[str, int]) -> None:
        super().__init__()
        self.observed = observed


class ObjectiveELBO(pyro.infer.ELBO):
    """One of our single-phase objectives as a `pyro.infer.ELBO`.

    Model and guide are any Pyro programs with at most one plate, over the data, at dimension -1,
    and all sites within it if there is one; frames are found by program order (see
    `pyrodgm.stepwise.stepwise_log_probs`).

    Args:
        objective: the class, such as `pyrodgm.objectives.NVIL`.
        own: its own options, as its constructor takes them.

    Raises:
        UsageError: the objective has several phases and cannot be one loss, or draws in a way of
            its own that a plain program does not offer.

    Networks that the objective owns are made on the first call, when the size of an observation is
    known, and are handed to SVI's optimiser through the parameter store under "pyrodgm.objective",
    those of a second one in the same store under "pyrodgm.objective.2".

    >>> from pyrodgm.objectives import NVIL
    >>> elbo = ObjectiveELBO(NVIL, signal="future", particles=2)
    """

    def __init__(self, objective: type[SinglePhase], **own: Any) -> None:
        if not issubclass(objective, SinglePhase):
            raise UsageError(
                f"{objective.__name__} optimises in several phases and cannot be a Pyro ELBO; "
                "use pyrodgm.fit with it"
            )
        if objective.trace is not SinglePhase.trace:
            raise UsageError(
                f"{objective.__name__} draws frame by frame, which only a sequence model and guide "
                "of pyrodgm offer; use pyrodgm.fit with it, or RLOO here"
            )
        options = signature(objective).parameters
        default = options["particles"].default if "particles" in options else 1
        super().__init__(num_particles=int(own.get("particles", default)))
        self.objective_class = objective
        self.own = own
        self.objective: SinglePhase | None = None
        self.name = ""

    def _log_probs(self, model: Program, guide: Program, *args: Any) -> LogProbs:
        found = stepwise_log_probs(model, guide, *args, particles=self.num_particles)
        if found.values and self.objective_class.needs.latents == frozenset({"none"}):
            raise UsageError(
                f"{self.objective_class.__name__} is for programs without latent sites, and the "
                f"guide draws {', '.join(found.values)}; take RLOO or NVIL"
            )
        return found

    def _bound_objective(self, log_probs: LogProbs) -> SinglePhase:
        if self.objective is None:
            # Where frames differ there is no such size; an objective that needs one will say so.
            dim = 1 if log_probs.x is None else log_probs.x.shape[-1]
            program: Any = _PlainProgram({"x": dim})
            self.objective = self.objective_class(program, program, **self.own)
            self.objective.to(log_probs.log_p.device, log_probs.log_p.dtype)
            self.name = _free_name()
        return self.objective

    def differentiable_loss(self, model: Program, guide: Program, *args: Any) -> Tensor:
        """A scalar whose value is minus the bound, in nats, and whose gradient is ours."""
        log_probs = self._log_probs(model, guide, *args)
        objective = self._bound_objective(log_probs)
        if next(objective.parameters(), None) is not None:
            pyro.module(self.name, objective)
        size = log_probs.log_p.shape[1]
        surrogate = objective.estimate(log_probs).surrogate * size
        loss = -log_probs.log_w.detach().sum((1, 2)).mean()
        return loss + surrogate - surrogate.detach()

    def loss(self, model: Program, guide: Program, *args: Any) -> float:
        """Minus the evidence lower bound of all the data given, in nats."""
        with torch.no_grad():
            log_w = self._log_probs(model, guide, *args).log_w
        return -float(log_w.sum((1, 2)).mean())

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """The loss, after its gradient has been added to every parameter's."""
        loss = self.differentiable_loss(model, guide, *args)
        loss.backward()
        return float(loss.detach())

    def _get_trace(self, *_: Any) -> Any:
        raise UsageError("ObjectiveELBO traces model and guide together; call loss instead")


def _free_name() -> str:
    """One under which the parameter store holds nothing yet: it keeps what it was given first."""
    taken = {name.partition("$$$")[0] for name in pyro.get_param_store()}
    names = ("pyrodgm.objective" + (f".{n}" if n > 1 else "") for n in count(1))
    return next(name for name in names if name not in taken)
