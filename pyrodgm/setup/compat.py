"""Compatibility of model, guide and objective, decided from their traits.

The traits of a model may depend on its options, so that a model is given as a `Form`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import product

from pyrodgm.engine.auxiliary import AuxiliaryProgram
from pyrodgm.engine.sites import Site, kinds
from pyrodgm.engine.weights import random_weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GUIDES, Guide
from pyrodgm.models import (
    MODELS,
    Companions,
    EnergyModel,
    Form,
    Generator,
    Model,
    ModelTraits,
    StepModel,
)
from pyrodgm.objectives import OBJECTIVES, Objective

# Words for a trait that does not hold, and for one that does.
REPARAMETERISED = ("is not reparameterised", "is reparameterised")
HAS_DENSITY = ("has no density", "has a density")
AUXILIARY = ("adds no latents of its own", "adds latents of its own")
INDEPENDENT_BITS = (
    "draws the bits of a site one after the other, each given those before it",
    "draws the bits of a site independently of each other",
)
HAS_ENTROPY = (
    "has neither a density nor draws that carry gradients",
    "has a density or draws that carry gradients",
)
CODEBOOK = ("draws at random", "draws the nearest codes of a codebook")
TIME = ("has no time", "runs over time")
BY_FRAME = (
    "has no normalisers of frames given those before them",
    "has a normaliser for every frame given those before it",
)
DENSITY = {
    "normalised": "has a normalised density",
    "unnormalised": "has an unnormalised density",
    "none": "has no density",
}

Conflict = tuple[str, str, str]


def conflicts(model: Form, guide: type[Guide], objective: type[Objective]) -> Iterator[Conflict]:
    """Every conflict of traits, as (its owner, the trait, what is needed)."""
    yield from pair_conflicts(model, guide)
    yield from model_conflicts(model, objective)
    yield from guide_conflicts(model, guide, objective)


def pair_conflicts(model: Form, guide: type[Guide]) -> Iterator[Conflict]:
    """Conflicts of a guide with the kinds of latents and the time of its model."""
    p, q, owner = model.traits, guide.traits, f"guide {guide.__name__}"
    has, draws = kinds(p.latents), kinds(q.latents)
    if q.over == "latents" and not (has <= draws if has else not draws):
        yield owner, f"draws {_words(draws)}", _words(has)
    if q.over == "observations" and has:
        yield owner, "draws observations", f"one that draws {_words(has)}"
    if q.codebook and not p.codebook:
        yield owner, CODEBOOK[True], f"one that {CODEBOOK[False]}"
    if q.evaluates and p.density == "none":
        yield owner, "evaluates the density of its model", "one that does not"
    if q.recurrence is not None and q.recurrence != p.recurrence:
        yield owner, f"shares the recurrence of {q.recurrence}", "one that does not"
    if p.sequential is not None and q.sequential is not None and p.sequential != q.sequential:
        yield owner, TIME[q.sequential], f"one that {TIME[p.sequential]}"


def model_conflicts(model: Form, objective: type[Objective]) -> Iterator[Conflict]:
    """Conflicts of a model with the needs of the objective."""
    p, needs, owner = model.traits, objective.needs, f"model {model.name}"
    found = kinds(p.latents) or {"none"}
    if not found <= needs.latents or (needs.one_of and not found & needs.one_of):
        can = " or ".join(_words({kind}) for kind in sorted(needs.one_of or needs.latents))
        yield owner, f"has {_words(kinds(p.latents))}", can
    if needs.density is not None and p.density not in needs.density:
        can = " or ".join(DENSITY[each] for each in sorted(needs.density))
        yield owner, DENSITY[p.density], f"one that {can}"
    if needs.by_frame is not None and p.by_frame != needs.by_frame:
        yield owner, BY_FRAME[p.by_frame], f"one that {BY_FRAME[needs.by_frame]}"
    if needs.chains and not p.chains:
        yield owner, "has no draws for Markov chains", "one that has"
    if None not in (needs.sequential, p.sequential) and p.sequential != needs.sequential:
        yield owner, TIME[bool(p.sequential)], f"one that {TIME[bool(needs.sequential)]}"


def guide_conflicts(
    model: Form, guide: type[Guide], objective: type[Objective]
) -> Iterator[Conflict]:
    """Conflicts of a guide with the needs of the objective."""
    q, needs, owner = guide.traits, objective.needs, f"guide {guide.__name__}"
    if q.over != needs.over:
        drawn = "nothing" if q.over == "latents" and q.latents == "none" else q.over
        of_none = needs.over == "latents" and needs.latents == {"none"}
        yield owner, f"draws {drawn}", f"one that draws {'nothing' if of_none else needs.over}"
    added = kinds(q.auxiliary)
    if not added <= needs.latents:
        yield owner, f"adds {_words(added)} of its own", _words(needs.latents)
    found = kinds(model.traits.latents) | added
    carries = q.reparameterised and ("continuous" in found)
    if needs.reparameterised:  # then all draws must be reparameterised
        carries = carries and found == {"continuous"}
    needed_traits = [
        (REPARAMETERISED, carries, needs.reparameterised),
        (HAS_DENSITY, q.has_density, needs.has_density),
        (AUXILIARY, bool(added), needs.auxiliary),
        (CODEBOOK, q.codebook, needs.codebook),
        (INDEPENDENT_BITS, q.independent_bits, needs.independent_bits),
        (HAS_ENTROPY, q.has_density or q.reparameterised, needs.has_entropy),
    ]
    for words, given, needed in needed_traits:
        if needed is not None and given != needed:
            yield owner, words[given], f"one that {words[needed]}"


def _words(found: Collection[str]) -> str:
    """Kinds of latents in words.

    >>> _words({"continuous", "binary"}), _words(())
    ('binary and continuous latents', 'no latents')
    """
    named = sorted(set(found) - {"none"})
    return f"{' and '.join(named)} latents" if named else "no latents"


def check_classes(model: Form, guide: type[Guide], objective: type[Objective]) -> None:
    """Raise unless the traits of the three fit.

    Raises:
        CompatibilityError: names the trait that does not fit, its owner, and objectives or guides
            that would fit.
    """
    found = [
        f"{owner} {given}; {objective.__name__} on {model.name} needs {needed}"
        for owner, given, needed in conflicts(model, guide, objective)
    ]
    if found:
        raise CompatibilityError("\n".join([*found, *_advice(model, guide, objective)]))


def check(model: Model, guide: Guide, objective: type[Objective]) -> None:
    """Raise unless the three fit, also in the names and sizes of the latent sites.

    Raises:
        CompatibilityError: names the trait that does not fit, its owner, and objectives or guides
            that would fit.
    """
    _check_density(model)
    check_classes(_form_of(model), type(guide), objective)
    for owner in (model, guide):
        if random := random_weights(owner):
            raise CompatibilityError(
                f"weights of {type(owner).__name__} have a prior ({', '.join(random)}), but "
                f"{objective.__name__} learns values of weights; use pyro.infer.SVI with a guide "
                "over them, such as pyro.infer.autoguide.AutoNormal"
            )
    for owner, names in ((model, ("latents", "observed")), (guide, ("latents",))):
        over_time = ("history",) if owner.traits.sequential else ()
        if missing := [f"self.{name}" for name in (*names, *over_time) if not hasattr(owner, name)]:
            raise CompatibilityError(
                f"{type(owner).__name__} does not set {', '.join(missing)}; its constructor must: "
                "latents to a dictionary from site name to Site(dimension, kind), observed to one "
                "from site name to dimension, history to the number of earlier frames that a step "
                "uses"
            )
        _check_kinds(owner)
    added = guide.reverse.latents if isinstance(guide, AuxiliaryProgram) else {}
    drawn = {name: site for name, site in guide.latents.items() if name not in added}
    if guide.traits.over == "latents" and _shapes(drawn) != _shapes(model.latents):
        raise CompatibilityError(
            f"model {type(model).__name__} has latent sites {_shapes(model.latents)} (name to size "
            f"and kind), but guide {type(guide).__name__} draws {_shapes(drawn)}; they must agree"
        )


def _form_of(model: Model) -> Form:
    """The form of a model that has been made."""
    known = (form for form in (model.form(), *model.forms) if form.traits == model.traits)
    return next(known, Form(type(model).__name__, model.traits, model.companions))


def _check_density(model: Model) -> None:
    """Raise unless the traits declare the density that the base of the model has."""
    bases = ((EnergyModel, "unnormalised"), (Generator, "none"), (StepModel, "normalised"))
    for base, density in bases:
        if isinstance(model, base) and model.traits.density != density:
            raise CompatibilityError(
                f"{type(model).__name__} derives from {base.__name__}, but its traits declare "
                f"density='{model.traits.density}'; declare ModelTraits(..., density='{density}')"
            )


def _shapes(sites: Mapping[str, Site]) -> dict[str, str]:
    return {name: f"{site.dim} {site.words}" for name, site in sites.items()}


def _check_kinds(owner: Model | Guide) -> None:
    """Raise unless the kinds of the latent sites agree with the traits."""
    declared = kinds(owner.traits.latents)
    if isinstance(owner, Guide):
        declared |= kinds(owner.traits.auxiliary)
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


def companions_of(model: Form) -> Companions:
    """Names of the default guide, objective and data of a model.

    A model that declares none gets the objective of the first registered model whose objective fits
    it with any guide, and the first registered guide that fits both. Models with the same kind of
    latents, over time or not as it is, come first.
    """
    if model.companions is not None:
        return model.companions
    alike = sorted(MODELS.values(), key=lambda other: _kind(other.traits) != _kind(model.traits))
    known = [other.companions for other in alike if other.companions]
    for companions, (guide_name, guide) in product(known, GUIDES.items()):
        if not any(conflicts(model, guide, OBJECTIVES[companions.objective])):
            return replace(companions, guide=guide_name)
    return known[0]


def _kind(traits: ModelTraits) -> tuple[object, object]:
    return traits.latents, traits.sequential


def guide_for(model: Form, objective: type[Objective] | None, companion: str) -> str:
    """Name of the guide of a model under an objective, where none is given.

    Args:
        model: the model.
        objective: the objective; None if it is not known.
        companion: the model's own default, which is the answer if it fits.
    """
    usual = None if objective is None else objective.usual_guide
    if objective is None or usual is None:
        return companion
    fits = not any(conflicts(model, GUIDES[companion], objective))
    return companion if fits else usual


def _advice(model: Form, guide: type[Guide], objective: type[Objective]) -> Iterator[str]:
    objectives = [n for n, c in OBJECTIVES.items() if not any(conflicts(model, guide, c))]
    forms = [form for form in _other_forms(model) if any(_guides_of(form, objective))]
    guides = [*_guides_of(model, objective)]
    if objectives:
        yield f"objectives that fit this model and guide: {', '.join(objectives)}"
    if guides:
        known = ", ".join("none (there is no guide)" if g == "none" else g for g in guides)
        yield f"guides that fit this model and objective: {known}"
    elif forms:
        options = " ".join(f"--set model.{name}={x}" for name, x in forms[0].options.items())
        yield f"the model fits this objective with other options: {options}"


def _guides_of(model: Form, objective: type[Objective]) -> Iterator[str]:
    """Names of the guides that fit a model and an objective."""
    return (name for name, c in GUIDES.items() if not any(conflicts(model, c, objective)))


def _other_forms(model: Form) -> Iterator[Form]:
    """Registered forms of the same model that options make."""
    for made in MODELS.values():
        if model.name in {form.name for form in (made.form(), *made.forms)}:
            yield from (form for form in made.forms if form.name != model.name)


def registered() -> dict[str, tuple[str, Form]]:
    """Name and form of every registered model, also with options that other guides fit.

    The keys are names, followed by such options: ``vae``, ``vae latents=categorical``.
    """
    found = [(name, form) for name, m in MODELS.items() for form in (m.form(), *m.forms)]
    return {f"{name} {form.words}".strip(): (name, form) for name, form in found}


def table() -> Iterator[tuple[str, str, str]]:
    """Every triple that fits, as (key of `registered`, name of a guide, name of an objective)."""
    for key, (_, model) in registered().items():
        for guide_name, guide in GUIDES.items():
            for objective_name, objective in OBJECTIVES.items():
                if not any(conflicts(model, guide, objective)):
                    yield key, guide_name, objective_name
