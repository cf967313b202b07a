import math
from types import SimpleNamespace

import numpy as np
import pyro
import pytest

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood import compare as module
from pyrodgm.evaluate.likelihood.compare import compare
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR

X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)


def splits(x=X, lengths=(5, 4, 3), kind="real"):
    part = Sequences(x, np.array(lengths))
    return Splits.of("some", kind, dict.fromkeys(("train", "valid", "test"), part))


def fit(data):
    model = AR(data.info)
    return SimpleNamespace(model=model, guide=NoGuide(model), splits=data)


def test_differences_are_paired_and_the_best_comes_first():
    pyro.set_rng_seed(0)
    fits = {"a": fit(splits()), "b": fit(splits())}
    fits["b"].model.x_bias.bias.data.add_(0.3)
    rows = compare(fits)
    assert rows[0].difference == rows[0].standard_error == 0
    assert rows[1].difference > 0
    assert rows[1].standard_error > 0
    total = rows[0].bound.nats_per_example - rows[1].bound.nats_per_example
    assert rows[1].difference == pytest.approx(total)


def test_the_error_of_a_difference_is_that_of_pairs(monkeypatch):
    """By hand: the sequences differ far more from each other than the fits do."""
    nats = {"a": np.array([-10.0, -200.0, -60.0]), "b": np.array([-11.0, -202.0, -60.5])}
    fits = {name: fit(splits()) for name in nats}
    models = {id(made.model): nats[name] for name, made in fits.items()}
    monkeypatch.setattr(
        module, "sequence_bounds", lambda model, *_, **__: (models[id(model)], "elbo")
    )
    best, other = compare(fits)
    assert best.name == "a"
    below = nats["a"] - nats["b"]
    assert other.difference == pytest.approx(below.mean())
    assert other.standard_error == pytest.approx(below.std(ddof=1) / math.sqrt(3))


def test_data_with_gaps_is_the_same_as_itself():
    gaps = np.where(np.arange(24).reshape(12, 2) % 5 == 3, np.nan, X)
    assert len(compare({"a": fit(splits(gaps)), "b": fit(splits(gaps))})) == 2
    for other in (splits(X), splits(gaps, (3, 4, 5)), splits(np.nan_to_num(gaps))):
        with pytest.raises(UsageError, match="b and a were fitted on different data"):
            compare({"a": fit(splits(gaps)), "b": fit(other)})


def test_one_sequence_has_no_error():
    pyro.set_rng_seed(0)
    fits = {"a": fit(splits(lengths=(12,))), "b": fit(splits(lengths=(12,)))}
    fits["b"].model.x_bias.bias.data.add_(0.3)
    best, other = compare(fits)
    assert best.standard_error == 0
    assert math.isnan(other.standard_error)
    assert other.to_dict()["standard_error_of_difference"] is None


def test_densities_and_probabilities_have_no_common_measure():
    grey = np.clip(X / 10 + 0.5, 0, 1)
    with pytest.raises(UsageError, match="b reads the values as unit and a as real"):
        compare({"a": fit(splits(grey)), "b": fit(splits(grey, kind="unit"))})
