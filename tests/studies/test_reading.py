"""The file of a study: names, grids, mistakes."""

import pytest

from pyrodgm.errors import ConfigError
from pyrodgm.studies.reading import check_one_dataset, plan_of, read_plan

TWO = {"candidate": [{"objective": "nvil"}, {"objective": "rws"}]}


def plan(**values):
    return plan_of({"data": "balls", "model": "tsbn", **TWO, **values}, "file.toml")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"particle": 3}, "did you mean 'particles'"),
        ({"particles": 0}, "at least 1"),
        ({"estimator": "iwea"}, "expected one of auto, elbo, iwae"),
        ({"splits": ["train"]}, "expected some of"),
        (7, "evaluate.particles = 100"),
    ],
)
def test_mistakes_in_the_evaluation_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        plan(evaluate=given)


def test_a_name_stands_for_a_group_and_options_of_a_candidate_come_before_those_of_all():
    found = plan(
        seeds=[3, 5],
        processes=2,
        fit={"lr": 0.5, "steps": 7},
        candidate=[
            {"objective": "nvil"},
            {"name": "slow", "objective": {"name": "rws", "particles": 3}, "fit": {"lr": 0.1}},
        ],
    )
    assert (found.seeds, found.processes) == ((3, 5), 2)
    assert [candidate.name for candidate in found.candidates] == ["nvil", "slow"]
    nvil, slow = (candidate.config(5) for candidate in found.candidates)
    assert (nvil.fit.lr, nvil.fit.steps, nvil.fit.seed) == (0.5, 7, 5)
    assert (slow.fit.lr, slow.fit.steps) == (0.1, 7)
    assert slow.objective.options["particles"] == 3
    assert nvil.data == slow.data


def test_a_grid_makes_a_candidate_of_every_combination():
    found = plan(
        grid={"fit": {"lr": [0.1, 0.2]}},
        candidate=[
            {"objective": "nvil"},
            {"objective": "rws", "grid": {"objective": {"particles": [2, 4]}}},
        ],
    )
    assert [candidate.name for candidate in found.candidates] == [
        "nvil, fit.lr=0.1",
        "nvil, fit.lr=0.2",
        "rws, fit.lr=0.1, objective.particles=2",
        "rws, fit.lr=0.1, objective.particles=4",
        "rws, fit.lr=0.2, objective.particles=2",
        "rws, fit.lr=0.2, objective.particles=4",
    ]
    last = found.candidates[-1].config(0)
    assert (last.fit.lr, last.objective.options["particles"]) == (0.2, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sedes": [0]}, "'sedes' is not known here; did you mean 'seeds'?"),
        ({"seeds": []}, r"seeds = \[\]: expected different integers"),
        ({"seeds": [1, 1]}, "expected different integers"),
        ({"seeds": [-1]}, "expected different integers"),
        ({"seeds": 3}, "expected different integers"),
        ({"processes": 0}, "processes = 0: expected a number of at least 1"),
        ({"candidate": []}, r"written as \[\[candidate\]\]"),
        ({"candidate": {"objective": "rws"}}, r"written as \[\[candidate\]\]"),
        ({"candidate": [{"objectiv": "rws"}]}, "did you mean 'objective'?"),
        ({"candidate": [{"objective": 3}]}, "objective = 3: expected a name or a group"),
        ({"candidate": [{"objective": "rws"}] * 2}, "two candidates are named 'rws' and 'rws'"),
        ({"candidate": [{"objective": "rsw"}]}, "candidate 'rsw': unknown objective 'rsw'"),
        ({"candidate": [{"name": "a", "objective": "wgan"}]}, "candidate 'a': model TSBN has"),
        ({"fit": {"lr": -1}}, "candidate 'nvil': fit.lr = -1"),
        ({"fit": {"seed": 1}}, r"fit.seed: give seeds = \[0, 1, 2\]"),
        ({"fit": {"devices": 2}}, "every run of a study has one device"),
        ({"grid": {"fit": {"lr": 0.1}}}, "grid.fit.lr = 0.1: expected a list"),
        ({"grid": {"fti": {"lr": [0.1]}}}, "grid.fti: expected a line such as"),
        ({"grid": {"fit": {"seed": [1, 2]}}}, r"grid.fit.seed: give seeds = \[0, 1, 2\]"),
        ({"grid": 3}, "grid = 3: expected lines such as"),
        ({"grid": {"fit": 3}}, "grid.fit: expected a line such as"),
        ({"evaluate": {"splits": 3}}, r"evaluate.splits = \[3\]: expected some of"),
        ({"evaluate": {"splits": [["a"]]}}, "expected some of"),
        ({"evaluate": {"particles": True}}, "evaluate.particles = True: expected a number"),
    ],
)
def test_mistakes_are_found_and_the_candidate_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        plan(**values)


def test_candidates_on_different_data_are_refused():
    found = plan_of({"candidate": [{"model": "tsbn"}, {"model": "vae"}]}, "file.toml")
    with pytest.raises(ConfigError, match=r"have different ones \(tsbn: .*; vae: .*give data = "):
        check_one_dataset(found)


def test_the_example_is_valid(request):
    found = read_plan(request.config.rootpath / "examples" / "study.toml")
    assert [candidate.name for candidate in found.candidates] == [
        "rws",
        "nvil",
        "rloo-local",
        "leave one out, fit.lr=0.003",
        "leave one out, fit.lr=0.01",
    ]
    check_one_dataset(found)


def test_names_in_other_alphabets_have_folders_of_their_own():
    names = [{"name": name, "objective": "rws"} for name in ("α", "β", "A_b ")]
    assert [each.slug for each in plan(candidate=names).candidates] == ["α", "β", "a-b"]
