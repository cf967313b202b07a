"""Which model, guide and objective fit together: checked before anything runs, and listed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import product

from pyrodgm.engine.sites import Site, kinds
from pyrodgm.engine.weights import random_weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GUIDES, Guide
from pyrodgm.models import MODELS, Companions, Model
from pyrodgm.objectives import OBJECTIVES, Objective

# What is said where a trait does not hold, and where it does.
REPARAMETERISED = ("is not reparameterised", "is reparameterised")
HAS_DENSITY = ("has no density", "has a density")
AUXILIARY = ("adds no latents of its own", "adds latents of its own")
TIME = ("has no time", "runs over time")
DENSITY = {
    "normalised": "has a normalised density",
    "unnormalised": "has an unnormalised density",
    "none": "has no density",
}

Conflict = tuple[str, str, str]


def conflicts(
    model: type[Model], guide: type[Guide], objective: type[Objective]
) -> Iterator[Conflict]:
    """Every trait that does not fit, as (whose trait, what it is, what was needed)."""
    yield from _pair_conflicts(model, guide)
    yield from _model_conflicts(model, objective)
    yield from _guide_conflicts(model, guide, objective)


def _pair_conflicts(model: type[Model], guide: type[Guide]) -> Iterator[Conflict]:
    """A guide draws the kinds of latents that its model has, and runs over time as it does."""
    p, q, owner = model.traits, guide.traits, f"guide {guide.__name__}"
    has, draws = kinds(p.latents), kinds(q.latents)
    if q.over == "latents" and not (has <= draws if has else not draws):
        yield owner, f"draws {_words(draws)}", _words(has)
    if q.over == "observations" and has:
        yield owner, "draws observations", f"one that draws {_words(has)}"
    if p.sequential is not None and q.sequential is not None and p.sequential != q.sequential:
        yield owner, TIME[q.sequential], f"one that {TIME[p.sequential]}"


def _model_conflicts(model: type[Model], objective: type[Objective]) -> Iterator[Conflict]:
    """What the objective asks of the model."""
    p, needs, owner = model.traits, objective.needs, f"model {model.__name__}"
    if not (kinds(p.latents) or {"none"}) <= needs.latents:
        can = " or ".join(_words({kind}) for kind in sorted(needs.latents))
        yield owner, f"has {_words(kinds(p.latents))}", can
    if needs.density is not None and p.density not in needs.density:
        can = " or ".join(DENSITY[each] for each in sorted(needs.density))
        yield owner, DENSITY[p.density], f"one that {can}"
    if None not in (needs.sequential, p.sequential) and p.sequential != needs.sequential:
        yield owner, TIME[bool(p.sequential)], f"one that {TIME[bool(needs.sequential)]}"


def _guide_conflicts(
    model: type[Model], guide: type[Guide], objective: type[Objective]
) -> Iterator[Conflict]:
    """What the objective asks of the guide."""
    q, needs, owner = guide.traits, objective.needs, f"guide {guide.__name__}"
    if q.over != needs.over:
        yield owner, f"draws {q.over}", f"one over {needs.over}"
    found = kinds(model.traits.latents)
    carries = q.reparameterised and ("continuous" in found)
    if needs.reparameterised:  # then all of its draws must be
        carries = carries and found == {"continuous"}
    asked = [
        (REPARAMETERISED, carries, needs.reparameterised),
        (HAS_DENSITY, q.has_density, needs.has_density),
        (AUXILIARY, q.auxiliary, needs.auxiliary),
    ]
    for words, given, needed in asked:
        if needed is not None and given != needed:
            yield owner, words[given], f"one that {words[needed]}"


def _words(found: Collection[str]) -> str:
    """Kinds of latents in words.

    >>> _words({"continuous", "binary"}), _words(())
    ('binary and continuous latents', 'no latents')
    """
    named = sorted(set(found) - {"none"})
    return f"{' and '.join(named)} latents" if named else "no latents"


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
                "latents to a dictionary from site name to Site(dimension, kind), observed to one "
                "from site name to dimension, history to the number of frames that a step looks "
                "back"
            )
        _check_kinds(owner)
    own = {name: site for name, site in guide.latents.items() if name in model.latents}
    drawn = own if guide.traits.auxiliary else guide.latents
    if guide.traits.over == "latents" and _shapes(drawn) != _shapes(model.latents):
        raise CompatibilityError(
            f"model {type(model).__name__} has latent sites {_shapes(model.latents)} (name to size "
            f"and kind) and guide {type(guide).__name__} draws {_shapes(drawn)}; make them the same"
        )


def _shapes(sites: Mapping[str, Site]) -> dict[str, str]:
    return {name: f"{site.dim} {site.kind}" for name, site in sites.items()}


def _check_kinds(owner: Model | Guide) -> None:
    """Raise unless the latent sites are those that the traits speak of."""
    declared = kinds(owner.traits.latents)
    for name, site in owner.latents.items():
        if not isinstance(site, Site):
            raise CompatibilityError(
                f"{type(owner).__name__} sets the latent site '{name}' to {site!r}; give "
                "Site(dimension, kind) of pyrodgm.models, such as Site(10, 'binary')"
            )
        if site.kind not in declared:
            raise CompatibilityError(
                f"{type(owner).__name__} has the {site.kind} site '{name}', and its traits declare "
                f"{_words(declared)}"
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
