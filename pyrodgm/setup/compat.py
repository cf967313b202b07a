"""Which model, guide and objective fit together: checked before anything runs, and listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from pyrodgm.engine.weights import random_weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GUIDES, Guide
from pyrodgm.models import MODELS, Companions, Model
from pyrodgm.objectives import OBJECTIVES, Objective

# What is said where a trait does not hold, and where it does.
REPARAMETERISED = ("is not reparameterised", "is reparameterised")
DENSITY = ("has no density", "has a density")
TIME = ("has no time", "runs over time")
NORMALISED = ("is not normalised", "is normalised")


def conflicts(
    model: type[Model], guide: type[Guide], objective: type[Objective]
) -> Iterator[tuple[str, str, str]]:
    """Every trait that does not fit, as (whose trait, what it is, what was needed)."""
    p, q, needs = model.traits, guide.traits, objective.needs
    if p.latents != q.latents:
        yield f"guide {guide.__name__}", f"draws {_kind(q.latents)}", _kind(p.latents)
    if p.sequential != q.sequential:
        yield f"guide {guide.__name__}", TIME[q.sequential], f"one that {TIME[p.sequential]}"
    if p.latents not in needs.latents:
        kinds = " or ".join(_kind(kind) for kind in sorted(needs.latents))
        yield f"model {model.__name__}", f"has {_kind(p.latents)}", kinds
    owners = (f"guide {guide.__name__}", f"model {model.__name__}")
    asked = [
        (owners[0], REPARAMETERISED, q.reparameterised, needs.reparameterised),
        (owners[0], DENSITY, q.has_density, needs.has_density),
        (owners[1], TIME, p.sequential, needs.sequential),
        (owners[1], NORMALISED, p.normalised, needs.normalised),
    ]
    for owner, words, given, needed in asked:
        if needed is not None and given != needed:
            yield owner, words[given], f"one that {words[needed]}"


def _kind(latents: str) -> str:
    return "no latents" if latents == "none" else f"{latents} latents"


def check_classes(model: type[Model], guide: type[Guide], objective: type[Objective]) -> None:
    """Raise unless the traits of the three fit.

    Raises:
        CompatibilityError: says which trait of which of the three does not fit, and which
            objectives or guides would.
    """
    found = [
        f"{owner} {given}; {objective.__name__} on {model.__name__} needs {needed}"
        for owner, given, needed in conflicts(model, guide, objective)
    ]
    if found:
        raise CompatibilityError("\n".join([*found, *_advice(model, guide, objective)]))


def check(model: Model, guide: Guide, objective: type[Objective]) -> None:
    """Raise unless the three fit, also in the names and sizes of the latent sites.

    Raises:
        CompatibilityError: says which trait of which of the three does not fit, and which
            objectives or guides would.
    """
    check_classes(type(model), type(guide), objective)
    for owner in (model, guide):
        if random := random_weights(owner):
            raise CompatibilityError(
                f"weights of {type(owner).__name__} have a prior ({', '.join(random)}), and "
                f"{objective.__name__} learns values of weights; take pyro.infer.SVI with a guide "
                "over them, such as pyro.infer.autoguide.AutoNormal"
            )
    for owner, names in ((model, ("latents", "observed")), (guide, ("latents",))):
        over_time = ("history",) if owner.traits.sequential else ()
        if missing := [f"self.{name}" for name in (*names, *over_time) if not hasattr(owner, name)]:
            raise CompatibilityError(
                f"{type(owner).__name__} does not set {', '.join(missing)}; its constructor must: "
                "latents and observed to a dictionary from site name to dimension, history to the "
                "number of frames that a step looks back"
            )
    if dict(model.latents) != dict(guide.latents):
        raise CompatibilityError(
            f"model {type(model).__name__} has latent sites {dict(model.latents)} (name to size) "
            f"and guide {type(guide).__name__} draws {dict(guide.latents)}; make them the same"
        )


def companions_of(model: type[Model]) -> Companions:
    """Names of what a model is fitted with unless told otherwise.

    A model that does not say is taken as the first one here whose objective fits it, with the first
    guide that does.
    """
    if model.companions is not None:
        return model.companions
    known = [other.companions for other in MODELS.values() if other.companions]
    for (guide_name, guide), companions in product(GUIDES.items(), known):
        if not any(conflicts(model, guide, OBJECTIVES[companions.objective])):
            return replace(companions, guide=guide_name)
    return known[0]


def _advice(model: type[Model], guide: type[Guide], objective: type[Objective]) -> Iterator[str]:
    objectives = [n for n, c in OBJECTIVES.items() if not any(conflicts(model, guide, c))]
    guides = [n for n, c in GUIDES.items() if not any(conflicts(model, c, objective))]
    if objectives:
        yield f"objectives that fit this model and guide: {', '.join(objectives)}"
    if guides:
        yield f"guides that fit this model and objective: {', '.join(guides)}"


def table() -> Iterator[tuple[str, str, str]]:
    """Every triple of registered names that fits, as (model, guide, objective)."""
    for model_name, model in MODELS.items():
        for guide_name, guide in GUIDES.items():
            for objective_name, objective in OBJECTIVES.items():
                if not any(conflicts(model, guide, objective)):
                    yield model_name, guide_name, objective_name
