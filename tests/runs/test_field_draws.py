"""A run of a field with a generator: its draws, draws beside data, landscape and report."""

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from pyrodgm.guides import GeneratorGuide
from pyrodgm.models import RandomField
from pyrodgm.objectives import ExclusiveNRF, InclusiveNRF
from pyrodgm.report.page import gather

OBJECTIVES = {"inclusive": (InclusiveNRF, {"steps": 4}), "exclusive": (ExclusiveNRF, {})}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A few steps of each."""
    splits = dgm.data.load("gmm5", num_train=60, num_valid=40, num_test=40)
    found = {}
    for name, (objective, options) in OBJECTIVES.items():
        model = RandomField(splits.info, hidden_dim=8)
        guide = GeneratorGuide(model, hidden_dim=8)
        out = tmp_path_factory.mktemp(name) / "run"
        found[name] = dgm.fit(
            objective(model, guide, **options), splits, steps=3, batch_size=20, out=out
        )
    return found


def test_samples_of_a_run_are_the_revised_draws(runs):
    run = runs["inclusive"]
    x = run.sample(50, 1, seed=3)["x"]
    assert x.shape == (50, 1, 2)
    again, other = (run.sample(50, 1, seed=seed)["x"] for seed in (3, 4))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


@pytest.mark.parametrize("name", ["inclusive", "exclusive"])
def test_draws_beside_data_are_revised_ones_and_those_of_the_guide(runs, name):
    found = runs[name].sample_quality("test", draws=40)
    keys = ["draws", *(["guide"] if name == "inclusive" else []), "train"]
    assert list(found.looks) == keys
    words = {
        "inclusive": {"draws": "revised draws", "guide": "draws of the guide"},
        "exclusive": {"draws": "draws of the guide"},
    }
    assert found.names == words[name]
    assert set(keys) <= found.to_dict().keys()
    assert set(found.looks["draws"].tests) == {"test", "train"}


def test_the_landscape_is_evaluated_and_in_the_report(runs, tmp_path):
    run = runs["inclusive"]
    found = run.landscape()
    assert found.kl_to_learned > 0
    cell = float(np.diff(found.across).mean() * np.diff(found.up).mean())
    assert np.exp(found.learned).sum() * cell == pytest.approx(1.0, rel=1e-6)
    nats = run.energy_likelihood("test").lower.nats_per_frame
    x = run.splits["test"].x.numpy()
    axes = enumerate((found.across, found.up))
    places = [np.abs(axis[:, None] - x[:, d]).argmin(0) for d, axis in axes]
    assert found.learned[tuple(places)].mean() == pytest.approx(nats, abs=0.2)
    page = gather(run, split="test", with_check=False, seed=0, files=tmp_path)
    titles = [section.title for section in page.sections]
    assert {"Samples", "Energy landscape", "Draws beside data"} <= set(titles)
