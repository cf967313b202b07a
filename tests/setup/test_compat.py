from dataclasses import replace

import pytest

from pyrodgm.data import load
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GUIDES, NoGuide, RecurrentBernoulli
from pyrodgm.models import AR, RBM, SBN, TSBN, VAE, VRNN, FeedForwardGenerator, Site
from pyrodgm.objectives import ML, NVIL, OBJECTIVES
from pyrodgm.setup import compat

INFO = load("balls", num_train=1, num_valid=1, num_test=1, length=3).info


def variant(base, attribute, **changes):
    """The class with other traits, or other needs."""
    changed = replace(getattr(base, attribute), **changes)
    return type("Other", base.__bases__, {**vars(base), attribute: changed})


def found(model=TSBN, guide=RecurrentBernoulli, objective=NVIL):
    return [" ".join(conflict) for conflict in compat.conflicts(model.form(), guide, objective)]


def test_the_published_triple_fits():
    assert found() == []
    compat.check(model := TSBN(INFO), RecurrentBernoulli(model), NVIL)


@pytest.mark.parametrize(
    ("pieces", "part"),
    [
        ({"model": variant(TSBN, "traits", latents="continuous")}, "draws binary latents"),
        (
            {"model": variant(TSBN, "traits", latents=("binary", "continuous"))},
            "draws binary latents binary and continuous latents",
        ),
        ({"model": variant(TSBN, "traits", sequential=False)}, "runs over time"),
        (
            {"model": variant(TSBN, "traits", density="unnormalised")},
            "has an unnormalised density one that has a normalised density",
        ),
        (
            {"model": variant(TSBN, "traits", density="none")},
            "has no density one that has a normalised",
        ),
        (
            {"guide": variant(RecurrentBernoulli, "traits", over="observations")},
            "draws observations one that draws binary latents",
        ),
        (
            {"objective": variant(NVIL, "needs", over="observations")},
            "guide RecurrentBernoulli draws latents one that draws observations",
        ),
        (
            {
                "guide": variant(RecurrentBernoulli, "traits", auxiliary="binary"),
                "objective": variant(NVIL, "needs", auxiliary=False),
            },
            "adds latents of its own",
        ),
        (
            {
                "guide": variant(RecurrentBernoulli, "traits", auxiliary="continuous"),
                "objective": variant(NVIL, "needs", latents=frozenset({"binary"})),
            },
            "adds continuous latents of its own binary latents",
        ),
        ({"guide": variant(RecurrentBernoulli, "traits", has_density=False)}, "has no density"),
        ({"objective": variant(NVIL, "needs", reparameterised=True)}, "is not reparameterised"),
        ({"objective": variant(NVIL, "needs", latents=frozenset({"continuous"}))}, "has binary"),
        ({"objective": variant(NVIL, "needs", sequential=False)}, "runs over time"),
    ],
)
def test_a_trait_that_does_not_fit_is_named(pieces, part):
    assert any(part in conflict for conflict in found(**pieces))


@pytest.mark.parametrize(
    ("latents", "draws", "fits"),
    [
        ("binary", "binary", True),
        ("binary", ("binary", "continuous"), True),
        (("binary", "continuous"), ("binary", "continuous"), True),
        (("binary", "continuous"), "continuous", False),
        ("none", "none", True),
        ("none", "binary", False),
    ],
)
def test_a_guide_draws_every_kind_that_the_model_has(latents, draws, fits):
    model = variant(TSBN, "traits", latents=latents)
    guide = variant(RecurrentBernoulli, "traits", latents=draws)
    assert any("draws" in conflict for conflict in found(model, guide)) != fits


@pytest.mark.parametrize("sequential", [True, False, None])
def test_no_guide_fits_models_with_time_and_without(sequential):
    model = variant(AR, "traits", sequential=sequential)
    assert found(model, NoGuide, ML) == []


@pytest.mark.parametrize(
    ("latents", "needed", "fits"),
    [
        ("continuous", True, True),
        ("continuous", False, False),
        (("binary", "continuous"), True, False),  # some of its draws are not
        (("binary", "continuous"), False, False),  # some of its draws are
        (("binary", "continuous"), None, True),
        ("binary", False, True),
    ],
)
def test_reparameterisation_is_that_of_every_site(latents, needed, fits):
    model = variant(TSBN, "traits", latents=latents)
    guide = variant(RecurrentBernoulli, "traits", latents=latents, reparameterised=True)
    objective = variant(NVIL, "needs", reparameterised=needed)
    assert (found(model, guide, objective) == []) == fits


def test_sites_are_checked_against_the_traits():
    model = TSBN(INFO)
    guide = RecurrentBernoulli(model)
    model.latents = {"z": 100}
    with pytest.raises(CompatibilityError, match=r"latent site 'z' to 100; give Site\(dim"):
        compat.check(model, guide, NVIL)
    model.latents = {"z": Site(100, "continuous")}
    with pytest.raises(CompatibilityError, match="has the continuous site 'z', and its traits de"):
        compat.check(model, guide, NVIL)


def test_the_error_names_objectives_that_would_fit():
    objective = variant(NVIL, "needs", reparameterised=True)
    with pytest.raises(CompatibilityError) as caught:
        compat.check(model := TSBN(INFO), RecurrentBernoulli(model), objective)
    assert "guide RecurrentBernoulli is not reparameterised" in str(caught.value)
    needs = {name: each.needs for name, each in OBJECTIVES.items()}
    found = [n for n, x in needs.items() if "binary" in x.latents and not x.reparameterised]
    fitting = ", ".join(found)
    assert f"objectives that fit this model and guide: {fitting}" in str(caught.value)


def test_the_error_names_options_of_the_model_that_would_fit():
    with pytest.raises(CompatibilityError, match=r"other options: --set model.latent_dim=2$"):
        compat.check_classes(FeedForwardGenerator.form(), NoGuide, OBJECTIVES["alice"])


def test_models_without_latents_are_spoken_of_as_such():
    with pytest.raises(CompatibilityError) as caught:
        compat.check(model := AR(INFO), RecurrentBernoulli(model), NVIL)
    said = str(caught.value)
    assert "guide RecurrentBernoulli draws binary latents; NVIL on AR needs no latents" in said
    assert "model AR has no latents; NVIL on AR needs binary latents or categorical" in said
    with pytest.raises(CompatibilityError, match="draws no latents; ML on TSBN needs binary lat"):
        compat.check(model := TSBN(INFO), NoGuide(model), ML)


def test_latents_of_other_sizes_are_refused():
    guide = RecurrentBernoulli(TSBN(INFO, hidden_dim=4))
    with pytest.raises(CompatibilityError, match=r"\{'z': '3 binary'\}.*\{'z': '4 binary'\}"):
        compat.check(TSBN(INFO, hidden_dim=3), guide, NVIL)


def test_a_model_that_names_no_sites_is_refused():
    model = TSBN(INFO)
    guide = RecurrentBernoulli(model)
    del model.latents
    with pytest.raises(CompatibilityError, match=r"TSBN does not set self\.latents"):
        compat.check(model, guide, NVIL)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (TSBN, ("recurrent-bernoulli", "rws")),
        (VRNN, ("recurrent-gaussian", "elbo")),
        (VAE, ("factorised", "elbo")),
        (AR, ("none", "ml")),
        (SBN, ("bernoulli", "rloo")),
        (RBM, ("none", "pcd")),
    ],
)
def test_a_model_that_suggests_nothing_gets_what_fits_models_of_its_kind(model, expected):
    silent = type("Silent", (model.__base__,), {"traits": model.traits, "companions": None})
    found = compat.companions_of(silent.form())
    assert (found.guide, found.objective) == expected
    assert compat.companions_of(model.form()) is model.companions


def test_the_table_lists_what_fits():
    triples = list(compat.table())
    assert ("tsbn", "recurrent-bernoulli", "nvil") in triples
    assert ("tsbn", "none", "nvil") not in triples


def test_sites_without_a_kind_are_refused_in_words():
    model = TSBN(INFO, hidden_dim=3)
    model.latents = {"z": 3}
    with pytest.raises(CompatibilityError, match=r"gives its latents as \{'z': 3\}.*Site"):
        RecurrentBernoulli(model)


def test_options_that_are_advised_fit_with_a_guide():
    """A codebook, and not only categorical latents, is what vector quantisation needs."""
    guide = GUIDES["gaussian"]
    with pytest.raises(CompatibilityError, match=r"other options: --set model\.latents=codebook"):
        compat.check_classes(VAE.form(), guide, OBJECTIVES["vq"])


def test_what_a_guide_draws_is_said_in_words():
    with pytest.raises(CompatibilityError, match=r"NoGuide draws nothing; NCE .* observations"):
        compat.check_classes(RBM.form(), NoGuide, OBJECTIVES["nce"])
    with pytest.raises(CompatibilityError, match=r"PCD on RBM needs one that draws nothing\n"):
        compat.check_classes(RBM.form(), GUIDES["nade"], OBJECTIVES["pcd"])
