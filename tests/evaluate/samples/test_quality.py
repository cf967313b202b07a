"""Inception-style score, classifier, and all measures of a fitted run."""

import json

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.mixtures import GMM5
from pyrodgm.errors import DataError, UsageError
from pyrodgm.evaluate.samples import classifier as classifiers
from pyrodgm.evaluate.samples.classifier import classifier, labels_of
from pyrodgm.evaluate.samples.inception import inception_score
from pyrodgm.evaluate.samples.quality import compared, quality, why_not
from pyrodgm.seeds import numpy_generator
from tiny import ragged


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers.local, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(classifiers, "STEPS", 200)


def test_the_score_of_a_known_mixture():
    """Two classes with probabilities (p, 1 - p) and its mirror image, in equal number."""
    p = 0.8
    rows = np.array([[p, 1 - p], [1 - p, p]] * 50)
    exact = np.exp(p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p)))
    found = inception_score(rows)
    assert found.value == pytest.approx(exact)
    assert found.error == pytest.approx(0, abs=1e-12)
    draws = np.random.default_rng(0).choice(5, size=4000, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.1))
    found = inception_score(np.eye(5)[draws])
    assert abs(found.value - np.exp(entropy)) < 4.3 * found.error


def test_the_score_of_few_rows_is_too_low_by_what_is_said():
    """(C - 1) / 2N of the score, to the first order, where the classifier is sure."""
    rng = np.random.default_rng(0)
    scores = [
        np.log(inception_score(np.eye(5)[rng.integers(5, size=200)]).value) for _ in range(4000)
    ]
    low = np.log(5) - np.array(scores)
    assert abs(low.mean() - 4 / 400) < 4.3 * low.std() / 4000**0.5 + 1e-4


def test_a_classifier_is_trained_once(monkeypatch):
    splits = GMM5.splits(num_train=500, num_valid=5, num_test=200, seed=0)
    made = classifier(splits.train, splits.info)
    labels, source = labels_of(splits.test, splits.info)
    x = splits.test.centred(splits.test.x)
    assert (made.classes, source) == (("0", "1", "2", "3", "4"), "nearest modes")
    assert made.accuracy(x, labels) == 1
    assert made.probabilities(x).sum(1) == pytest.approx(1)
    monkeypatch.setattr(classifiers, "_train", lambda *_: pytest.fail("trained again"))
    again = classifier(splits.train, splits.info)
    np.testing.assert_array_equal(again.probabilities(x), made.probabilities(x))


def test_labels_are_needed_and_of_several_classes():
    x = np.random.default_rng(0).normal(size=(9, 2))
    splits = Splits.of(
        "mine", "real", dict.fromkeys(("train", "valid", "test"), Sequences(x, [1] * 9))
    )
    with pytest.raises(UsageError, match="'mine' has no labels"):
        classifier(splits.train, splits.info)
    one = Sequences(x, np.ones(9, int), labels=np.array(["a"] * 9))
    with pytest.raises(DataError, match="all rows of 'mine' have the label 'a'"):
        classifier(one, splits.info)


class Exact(dgm.models.Generator):
    """Draws of the mixture itself."""

    def __init__(self, info):
        super().__init__(info, noise_dim=3)
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def generate(self, noise, batch):
        rng = numpy_generator(int(1e6 * noise[0, 0, 0, 0].abs()), "exact")
        x = torch.from_numpy(GMM5.draw(noise[..., 0].numel(), rng))
        return x.reshape(*noise.shape[:-1], 2) - torch.tensor(self.info.centre).float()


def test_exact_draws_look_like_data():
    splits = dgm.data.load("gmm5", num_train=800, num_test=800)
    model = Exact(splits.info)
    guide = dgm.guides.NoGuide(model)
    found = quality(model, guide, splits.info, splits.test, splits.train)
    drawn, reference = found.looks["draws"], found.looks["train"]
    assert drawn.coverage.covered.value == pytest.approx(5, abs=0.05)
    assert drawn.coverage.realistic.value == pytest.approx(found.expected[1], abs=0.01)
    assert drawn.score.value == pytest.approx(5, abs=0.15)
    assert reference.score.value == pytest.approx(5, abs=0.15)
    assert found.accuracy == 1
    assert min(test.p_value for test in drawn.tests.values()) > 0.001
    assert list(drawn.tests) == ["test", "train"]
    assert list(reference.tests) == ["test"]
    assert json.loads(json.dumps(found.to_dict()))["draws"]["modes"]["found"] == 5
    again = quality(model, guide, splits.info, splits.test, splits.train)
    assert again.to_dict() == found.to_dict()
    alone = quality(model, guide, splits.info, splits.test, None, draws=300)
    assert list(alone.looks) == ["draws", "test"]
    assert alone.accuracy is None
    assert alone.looks["test"].tests["test"].rows == 400


def test_draws_of_a_sampler_have_the_classes_of_random_rows():
    """The rows of many test sets are sorted by class."""
    x = np.repeat(np.eye(2), 300, 0)
    rows = Sequences(x, np.ones(600, int), conditions=x, labels=np.repeat(["a", "b"], 300))
    splits = Splits.of("sorted", "real", dict.fromkeys(("train", "valid", "test"), rows))
    model = dgm.models.FeedForwardGenerator(splits.info)
    guide, seen = dgm.guides.NoGuide(model), []

    def sampler(batch):
        seen.append(batch.conditions[:, 0, 0].mean())
        return batch.x

    given = {"draws": 200, "samplers": {"own": sampler, "draws": sampler}}
    quality(model, guide, splits.info, splits.test, splits.train, **given)
    assert seen[0] == seen[1] == pytest.approx(0.5, abs=4.3 * 0.5 / 200**0.5)


def test_sequences_are_refused(save_data):
    splits = dgm.data.load(save_data(**ragged()))
    model = dgm.models.TSBN(splits.info, hidden_dim=2)
    with pytest.raises(UsageError, match="has sequences of up to"):
        quality(model, dgm.guides.RecurrentBernoulli(model), splits.info, splits.test, None)


def test_one_row_is_compared_with_no_draws(save_data):
    splits = dgm.data.load(save_data(train=np.eye(4), valid=np.eye(4), test=np.eye(4)[:1]))
    model = dgm.models.VAE(splits.info, latent_dim=2, hidden_dim=2)
    guide = dgm.guides.DiagonalNormal(model, hidden_dim=2)
    with pytest.raises(UsageError, match=r"at least 2 rows without missing values.*there are 1"):
        quality(model, guide, splits.info, splits.test, None)
    assert "there are 1" in why_not(model, splits.info, splits.test)
    assert not why_not(model, splits.info, splits.valid)


@pytest.mark.parametrize(("held_out", "reference"), [(3, False), (4, True)])
def test_few_rows_without_training_rows_are_compared(held_out, reference):
    info = dgm.data.load("gmm5", num_train=4, num_valid=4, num_test=4).info
    rows = np.random.default_rng(0).normal(size=(2, 6, 2))
    part = Sequences(rows[0, :held_out], np.ones(held_out, int))
    found = compared(rows[1], info, part, None)
    assert bool(found.looks["test"].tests) == reference
    assert found.looks["draws"].tests.keys() == {"test"}


def test_the_command_shows_draws_beside_data(tmp_path, cli):
    values = ("--steps", 3, "--set", "data.num_train=300", "--set", "data.num_test=300")
    out = tmp_path / "run"
    assert cli("fit", "--model", "generator", *values, "--out", out).code == 0
    said = cli("evaluate", out).out
    for words in ("draws  ", "exact draws", "MMD² to test", "Covered: of 5"):
        assert words in said
    found = json.loads(cli("evaluate", out, "--json").out)
    assert found["samples"]["draws"].keys() == {"modes", "classes", "kernel_tests"}
    vae = tmp_path / "vae"
    fitted = cli("fit", "--model", "vae", "--data", "gmm5", *values, "--out", vae)
    assert fitted.code == 0, fitted.err
    found = json.loads(cli("evaluate", vae, "--estimator", "samples", "--json").out)
    assert found["samples"]["reconstruction"]["squared_error"] > 0
    assert cli("evaluate", vae, "--estimator", "samples", "--particles", 3).code == 2
