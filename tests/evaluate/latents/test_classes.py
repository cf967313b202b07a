"""The use of classes, against joint tables and a guide that is enumerated."""

import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine.sites import Site
from pyrodgm.evaluate.latents.activity import expected_latents
from pyrodgm.evaluate.latents.classes import ClassUse, class_use, class_words
from pyrodgm.figures.classes import class_shares
from pyrodgm.guides import Factorised
from pyrodgm.models import VAE


def use(probs, *, shared=False):
    """Of probabilities (F, J, C)."""
    frames, _, classes = probs.shape
    site = Site(probs[0].size, "categorical", classes=classes)
    return class_use({"z": probs.reshape(frames, -1)}, {"z": site}, shared=shared)["z"]


def test_information_is_that_of_the_joint_table():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(4, 0.3), (9, 3))
    found = use(probs)
    for j in range(3):
        joint = probs[:, j] / 9
        product = joint.sum(0) * joint.sum(1, keepdims=True)
        assert found.information[j] == pytest.approx((joint * np.log(joint / product)).sum())
    np.testing.assert_allclose(found.shares, probs.mean(0))


def test_unused_latents_have_no_information():
    found = use(np.broadcast_to([[0.7, 0.3, 0.0]], (5, 1, 3)).copy())
    assert found.information == pytest.approx([0], abs=1e-12)
    assert found.to_dict()["active"] == 0
    assert found.dead == 1


def test_certain_classes_have_the_entropy_of_their_frequencies():
    found = use(np.eye(4)[[0, 1, 1, 2]][:, None])
    assert found.information == pytest.approx([1.5 * np.log(2)])
    assert found.perplexity == pytest.approx(2**1.5)
    assert (found.dead, found.to_dict()["active"]) == (1, 1)


def test_codes_are_dead_if_no_variable_uses_them():
    probs = np.eye(4)[[[0, 1], [1, 2]]]  # two frames of two variables
    assert use(probs).dead == 4
    assert use(probs, shared=True).dead == 1
    assert use(probs, shared=True).perplexity == pytest.approx(2**1.5)
    assert "of 4 codes; 1 of 4 codes is dead." in class_words(
        {"z": use(probs, shared=True).to_dict()}
    )


def test_other_sites_have_no_classes():
    assert class_use({"z": np.ones((2, 3))}, {"z": Site(3, "binary")}) == {}


def test_shares_are_those_of_the_guide():
    x = (np.random.default_rng(0).random((6, 5)) < 0.5).astype(np.uint8)
    part = Sequences(x, np.ones(6, dtype=int))
    data = Splits.of("toy", "binary", dict.fromkeys(("train", "valid", "test"), part))
    torch.manual_seed(0)
    model = VAE(data.info, latents="categorical", latent_dim=3, classes=4, hidden_dim=5)
    guide = Factorised(model, hidden_dim=5)
    expected = expected_latents(model, guide, data.test, draws=3)
    found = class_use(expected, model.latents)["z"]
    assert found.shares.sum(1) == pytest.approx(np.ones(3))
    np.testing.assert_allclose(found.shares.reshape(-1), expected["z"].mean(0), rtol=1e-6)


@pytest.mark.parametrize("variables", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_figures_have_a_panel_for_shares_and_one_for_information(variables, shared):
    shares = np.random.default_rng(0).dirichlet(np.ones(5), variables)
    one = ClassUse(shares, np.zeros(variables), shared)
    figure = class_shares({"z": one, "y": one})
    assert sum(len(ax.get_xlabel()) > 0 for ax in figure.axes) == 4
