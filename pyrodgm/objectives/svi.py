"""Our objectives as Pyro ELBOs, for `pyro.infer.SVI` and any Pyro program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple, cast

import pyro
import pyro.infer
import torch
from pyro.distributions.util import is_identically_zero
from pyro.infer.elbo import ELBOModule
from pyro.infer.util import is_validation_enabled
from pyro.util import check_if_enumerated, warn_if_nan
from torch import Tensor, nn

from pyrodgm.engine.dependence import Dependence, dependence
from pyrodgm.engine.stepwise import SharedSubsamples, TracePair, terms_of, traced
from pyrodgm.engine.terms import Terms
from pyrodgm.errors import CompatibilityError, UsageError, did_you_mean
from pyrodgm.guides.base import GuideTraits
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.single import SinglePhase, unrolled_form
from pyrodgm.objectives.store import StoredState
from pyrodgm.schema import schema

Program = Callable[..., Any]


class PlainProgram(nn.Module):
    """A placeholder for the model or guide of an objective that is used with plain programs."""

    traits: ClassVar[GuideTraits] = GuideTraits(latents="none", sequential=None)

    def __init__(self) -> None:
        super().__init__()
        self.observed: dict[str, int] | None = None


class Traced(NamedTuple):
    """The input of an objective's estimate.

    Args:
        groups: log-probabilities, for every group of draws (`pyrodgm.engine.layout`).
        loss: minus the evidence lower bound, detached, in nats.
    """

    groups: list[Terms]
    loss: Tensor


class ObjectiveELBO(pyro.infer.ELBO):
    """One of our single-phase objectives as a `pyro.infer.ELBO`.

    Model and guide are any Pyro programs that Pyro's Trace_ELBO accepts. `pyrodgm.engine.layout`
    defines datum and frame in them. Options of the objective that make its gradient biased or
    rescaled have unbiased defaults here.

    Args:
        objective: the class, such as `pyrodgm.objectives.NVIL`.
        name: of its networks and running values in Pyro's parameter store.
        max_plate_nesting: as in Pyro's ELBOs; only for vectorised draws.
        vectorize_particles: whether the draws are vectorised under a plate, as in Pyro's ELBOs,
            which the programs must support; otherwise they run one after the other.
        retain_graph: as in Pyro's ELBOs.
        own: options of the objective's constructor.

    Raises:
        UsageError: the objective is not a function of draws alone, needs draws that a plain program
            cannot give, or does not have such an option.

    >>> from pyrodgm.objectives import NVIL
    >>> elbo = ObjectiveELBO(NVIL, particles=2)
    """

    def __init__(
        self,
        objective: type[SinglePhase],
        *,
        name: str = "pyrodgm.objective",
        max_plate_nesting: float = float("inf"),
        vectorize_particles: bool = False,
        retain_graph: bool | None = None,
        **own: Any,
    ) -> None:
        _refuse_objective(objective)
        _refuse_options(objective, own)
        options = {**objective.unbiased, **own}
        program: Any = PlainProgram()
        self._unused = objective(program, program, **options)
        _refuse_own_draws(self._unused)
        self.objectives = nn.ModuleList([deepcopy(self._unused)])
        super().__init__(
            num_particles=self._unused.particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            retain_graph=retain_graph,
        )
        self.state = StoredState(name, self.objectives)
        self._seen: tuple[Any, dict[tuple[str, ...], Dependence]] = (None, {})

    def __call__(self, model: nn.Module, guide: nn.Module) -> ELBOModule:
        """A module whose forward is the loss; it includes the state of the objective."""
        return _ObjectiveModule(model, guide, self)

    @property
    def objective(self) -> SinglePhase:
        """The objective of the first group of draws; `objectives` has those of all groups."""
        return cast("SinglePhase", self.objectives[0])

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """A scalar with the value of minus the bound, in nats, and the objective's gradient."""
        found = self.traced(model, guide, args, kwargs)
        self.prepare(found.groups)
        self.state.recall()
        loss = self.estimate(found)
        self.state.keep()
        return loss

    def prepare(self, groups: Sequence[Terms]) -> None:
        """Make an objective for each group of draws, because baselines differ between groups."""
        while len(self.objectives) < len(groups):
            self.objectives.append(deepcopy(self._unused))
        self.objectives.to(groups[0].log_p.device, groups[0].log_p.dtype)

    def estimate(self, found: Traced) -> Tensor:
        """The loss from log-probabilities, with the current state of the objective."""
        surrogate = sum(
            cast("SinglePhase", objective).estimate(group).surrogate * group.log_p.shape[1]
            for objective, group in zip(self.objectives, found.groups, strict=False)
        )
        surrogate = cast("Tensor", surrogate)
        warn_if_nan(surrogate, "loss")
        return found.loss + (surrogate - surrogate.detach())

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the evidence lower bound of all the data given, in nats."""
        with torch.no_grad():
            loss = self.traced(model, guide, args, kwargs).loss
        warn_if_nan(loss, "loss")
        return float(loss)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The loss; its gradient is added to that of every parameter."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return float(loss.detach())

    def traced(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traced:
        """Log-probabilities of K draws from the guide, by groups of draws, and the loss.

        Raises:
            CompatibilityError: the two do not draw the same sites, or cannot be vectorised.
            UsageError: latent sites, for an objective without latents, or sites whose draws carry
                no gradients, for an objective that needs them.
        """
        model, guide = unrolled_form(model), unrolled_form(guide)
        pairs = self._trace_pairs(model, guide, args, kwargs)
        groups = terms_of(pairs, self._depends(pairs, model, guide, args, kwargs))
        _refuse_sites(self.objective, groups, pairs)
        log_w = sum(p.log_prob_sum() - q.log_prob_sum() for p, q in pairs)
        return Traced(groups, -torch.as_tensor(log_w).detach() / self.num_particles)

    def _trace_pairs(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[TracePair]:
        with SharedSubsamples():
            if not self.vectorize_particles or self.num_particles == 1:
                return list(self._get_traces(model, guide, args, kwargs))
            try:
                return list(self._get_traces(model, guide, args, kwargs))
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                raise CompatibilityError(
                    f"model and guide do not run with {self.num_particles} vectorised draws "
                    f"({' '.join(str(error).split())}); omit vectorize_particles, or write them so "
                    "that every operation broadcasts over dimensions on the left"
                ) from error

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> TracePair:
        pair = traced(self.max_plate_nesting, model, guide, args, kwargs)
        if is_validation_enabled():
            check_if_enumerated(pair[1])
        return pair

    def _depends(
        self, pairs: list[TracePair], model: Program, guide: Program, args: Any, kwargs: Any
    ) -> Dependence:
        """Dependence on draws in these programs, determined once per set of sites."""
        if not any(_has_score(site) for _, trace in pairs for site in trace.nodes.values()):
            return Dependence()
        if self._seen[0] != (model, guide):
            self._seen = ((model, guide), {})
        seen = self._seen[1]
        names = tuple(pairs[0][0].nodes)
        if names not in seen:
            seen[names] = dependence(model, guide, args, kwargs)
        changing = [depends for depends in seen.values() if depends.structure]
        return changing[0] if changing else seen[names]


class _ObjectiveModule(ELBOModule):
    """Pyro's module of a model, a guide and an ELBO, with the objective's networks among them."""

    def __init__(self, model: nn.Module, guide: nn.Module, elbo: ObjectiveELBO) -> None:
        super().__init__(model, guide, elbo)
        self.objectives = elbo.objectives

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The differentiable loss; the objective's state is this module's, not the store's."""
        elbo = cast("ObjectiveELBO", self.elbo)
        found = elbo.traced(self.model, self.guide, args, kwargs)
        elbo.prepare(found.groups)
        return elbo.estimate(found)


def _has_score(site: Any) -> bool:
    return site["type"] == "sample" and not is_identically_zero(site["score_parts"].score_function)


def _refuse_objective(objective: type[SinglePhase]) -> None:
    if not isinstance(objective, type):
        raise UsageError(
            f"ObjectiveELBO takes the class of an objective, and {objective!r} is given; take one "
            "of pyrodgm.objectives, such as NVIL"
        )
    if not issubclass(objective, SinglePhase):
        raise UsageError(
            f"{objective.__name__} is not a function of log-probabilities of independent draws, so "
            "it cannot be a Pyro ELBO; use pyrodgm.fit with it"
        )


def _refuse_own_draws(objective: SinglePhase) -> None:
    if objective.draws_itself:
        raise UsageError(
            f"{type(objective).__name__} needs draws that only models and guides of pyrodgm "
            "support; use pyrodgm.fit with it, or RLOO or IWAE(gradient='plain') here"
        )


def _refuse_sites(objective: SinglePhase, groups: list[Terms], pairs: list[TracePair]) -> None:
    name, needs, draws = type(objective).__name__, objective.needs, list(groups[0].values)
    if draws and needs.latents == frozenset({"none"}):
        raise UsageError(
            f"{name} is for programs without latent sites, but the guide draws {', '.join(draws)}; "
            "use RLOO or NVIL"
        )
    nodes = pairs[0][1].nodes
    scored = [site for site in draws if _has_score(nodes[site])]
    if needs.reparameterised and scored:
        raise UsageError(
            f"{name} needs draws that carry gradients, and those of {', '.join(scored)} do not; "
            "use VIMCO or RLOO"
        )
    if needs.reparameterised is False and len(scored) < len(draws):
        raise UsageError(
            f"{name} is for draws without gradients, and those of "
            f"{', '.join(site for site in draws if site not in scored)} carry some; use RLOO"
        )
    if objective.one_weight and len(groups) > 1:
        raise UsageError(
            f"{name} weighs the draws of a datum as a whole, and the latent sites "
            f"{', '.join(draws)} are in different plates; use RLOO or NVIL"
        )


def _refuse_options(objective: type[SinglePhase], own: dict[str, Any]) -> None:
    known = set(schema(objective)) - {"execution", *KLOptions.__annotations__}
    for name in own:
        if name in KLOptions.__annotations__:
            raise UsageError(
                f"ObjectiveELBO has no option '{name}', because sites of a plain program may be in "
                "different plates; weigh a site by pyro.poutine.scale"
            )
        if name not in known:
            hint = "give particles instead" if name == "num_particles" else ""
            raise UsageError(
                f"ObjectiveELBO({objective.__name__}) has no option '{name}'; "
                f"{hint or did_you_mean(name, known)}"
            )
