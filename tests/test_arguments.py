"""Arguments that a user gives from Python, of a wrong type or too small."""

from pathlib import Path

import numpy as np
import pytest

from pyrodgm import Run, data, fit
from pyrodgm.arguments import as_path, check_whole
from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError
from pyrodgm.guides import DiagonalNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO


@pytest.mark.parametrize("given", [2.5, "3", None, np.float32(2), [1]])
def test_only_whole_numbers_are_taken(given):
    with pytest.raises(UsageError, match=r"draws is .*; give a whole number, at least 1"):
        check_whole(draws=given)


def test_numbers_of_numpy_are_whole_and_small_ones_are_refused():
    check_whole(2, draws=np.int64(2), steps=3)
    with pytest.raises(UsageError, match="steps is 1; give at least 2"):
        check_whole(2, draws=2, steps=1)


def test_paths_are_of_text_or_path_objects():
    assert as_path("a", "the data") == as_path(Path("a"), "the data") == Path("a")
    with pytest.raises(UsageError, match="the data is given by ndarray; give a path"):
        as_path(np.zeros(2), "the data")


@pytest.fixture(scope="module")
def run():
    splits = data.load("gmm5")
    model = VAE(splits.info, latent_dim=2)
    return fit(ELBO(model, DiagonalNormal(model)), splits, steps=1)


@pytest.mark.parametrize(
    "question",
    [
        lambda run: run.sample(2.5),
        lambda run: run.sample(2, 1.5),
        lambda run: run.sample(2, seed=0.5),
        lambda run: run.evaluate(particles=1.5),
        lambda run: run.scores(particles="2"),
        lambda run: run.annealed(sequences=1.5),
        lambda run: run.annealed(simulated=0.5),
        lambda run: run.sample_quality(draws=20.5),
        lambda run: run.to_datatree(draws=1.5),
        lambda run: run.forecast(1.5),
    ],
)
def test_questions_to_a_run_take_whole_numbers(run, question):
    with pytest.raises(UsageError, match="give a whole number"):
        question(run)


def test_no_draws_have_no_quality(run):
    with pytest.raises(UsageError, match="draws is 0; give at least 2"):
        run.sample_quality(draws=0)


def test_a_run_is_loaded_from_a_path_with_data_and_an_objective(run):
    with pytest.raises(UsageError, match="the run folder is given by int"):
        Run.load(3)
    with pytest.raises(UsageError, match="the data is given by ndarray"):
        Run.load(run.folder.path, np.zeros((3, 2)), objective=run.objective)
    with pytest.raises(UsageError, match="the objective is a VAE"):
        Run.load(run.folder.path, objective=run.model)


def test_an_objective_takes_a_batch(run):
    x = data.load("gmm5").test.batch([0, 1]).x
    with pytest.raises(UsageError, match="ELBO takes a batch, and is given Tensor"):
        run.objective(x)
    assert run.objective(Batch.of(x)).surrogate.isfinite()
