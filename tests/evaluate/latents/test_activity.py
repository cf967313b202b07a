import numpy as np
import pytest
import torch

from oracles import Enumerated, assert_mean
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.evaluate.latents.activity import activities, drawn_activities, expected_latents
from pyrodgm.evaluate.latents.dictionary import Dictionary, read_dictionary
from pyrodgm.figures.units import active_units, draw_dictionary, latent_activity
from pyrodgm.guides import ImplicitGuide, NoGuide
from pyrodgm.models import AR, DTSBND, TSBN, FeedForwardGenerator
from variants import VARIANTS, D, frames, pair, scoring


@pytest.fixture
def double():
    """Data in double precision, as the pairs of the variants are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_expected_latents_are_those_of_the_guide(variant, double):
    model, guide = pair(variant, "nade")
    length = VARIANTS[variant].length
    x = frames("nade", length)
    exact = Enumerated(model, guide, x, **scoring(model, "nade"))
    sequences = Sequences(np.concatenate([x, 1 - x[:1]]).astype(np.uint8), np.array([length, 1]))
    found = [expected_latents(model, guide, sequences, draws=40, seed=seed) for seed in range(100)]
    for name, path in exact.paths.items():
        draws = torch.from_numpy(np.stack([each[name] for each in found]))
        assert draws.shape == (100, length + 1, path.shape[-1])
        assert_mean(draws[:, :length], torch.einsum("s,std->td", exact.q, path).detach())


def test_a_model_without_latents_expects_none():
    info = DataInfo("tiny", "binary", 2, (0.5, 0.5), 3.0, 3)
    sequences = Sequences(np.ones((3, 2), np.uint8), np.array([3]))
    model = AR(info)
    assert expected_latents(model, NoGuide(model), sequences) == {}


@pytest.mark.parametrize("variant", ["sbn", "tsbn"])
def test_activities_are_variances_of_the_posterior_mean(variant, double):
    """Without the noise of the draws, which is large in layers above the first."""
    model, guide = pair(variant, "nade")
    length = VARIANTS[variant].length
    x = torch.stack([frames("nade", length), 1 - frames("nade", length)])
    means = {}
    for each in x:
        exact = Enumerated(model, guide, each, **scoring(model, "nade"))
        for name, path in exact.paths.items():
            mean = torch.einsum("s,std->td", exact.q, path).detach()
            means[name] = torch.cat([means.get(name, mean[:0]), mean])
    sequences = Sequences(x.flatten(0, 1).numpy().astype(np.uint8), np.array([length, length]))
    found = [activities(model, guide, sequences, draws=40, seed=seed) for seed in range(150)]
    for name, mean in means.items():
        draws = torch.from_numpy(np.stack([each[name] for each in found]))
        assert_mean(draws, mean.var(0, correction=0), power=0.4)


def test_units_that_are_not_active_are_counted_in_the_figure():
    figure = active_units({"z1": np.array([0.5, 0.0, 0.02]), "z2": np.array([-1e-4])})
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels[0].endswith("2 of 3 active")
    assert labels[1].endswith("0 of 1 active")


BITS = DataInfo("tiny", "binary", D, (0.5,) * D, 3.0, 3)
REAL = DataInfo("tiny", "real", D, (0.5,) * D, 3.0, 3, (1.0,) * D)


def test_what_a_unit_adds_is_what_switching_it_on_does():
    model = TSBN(BITS, hidden_dim=4, init_scale=1.0)
    dictionary = read_dictionary(model, D)
    on, off = torch.eye(4)[2], torch.zeros(4)
    change = model.emission(model.x_from_z(on)).logits - model.emission(model.x_from_z(off)).logits
    np.testing.assert_allclose(dictionary.weights[2], change.detach(), rtol=1e-6)
    assert dictionary.site == "z"


def test_of_a_normal_law_the_mean_counts_in_standard_deviations():
    model = TSBN(REAL, hidden_dim=4, init_scale=1.0)
    law = model.emission(model.x_from_z(torch.eye(4)[1]))
    weights = read_dictionary(model, D).weights
    assert weights.shape == (4, D)
    np.testing.assert_allclose(weights[1], law.mean.detach() - 0.5, rtol=1e-6)


def test_deterministic_units_stand_where_latents_do_not_enter_linearly():
    assert read_dictionary(DTSBND(BITS, layer_dim=5), D).site == "h"
    assert read_dictionary(AR(BITS), D) is None


def test_units_that_never_change_come_last():
    weights = np.array([[9.0, 9.0], [1.0, 0.0], [2.0, 0.0]])
    assert Dictionary("z", weights, np.array([1.0, 0.5, 0.5])).order.tolist() == [2, 1, 0]
    assert Dictionary("h", weights).order.tolist() == [0, 2, 1]
    effect = Dictionary("z", weights, np.array([1.0, 0.5, 0.2])).effect
    np.testing.assert_allclose(effect, [0, 0.5, 2 * 0.4])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("facts", [{"image_shape": (2, 3)}, {"lowest_pitch": 59}, {}])
def test_the_picture_has_every_unit_in_colours_around_zero(facts, known):
    rng = np.random.default_rng(0)
    info = DataInfo("tiny", "binary", 6, (0.5,) * 6, 3.0, 3, **facts)
    dictionary = Dictionary("z", rng.normal(size=(14, 6)), rng.random(14) if known else None)
    figure = draw_dictionary(dictionary, info)
    image = figure.axes[0].images[0]
    low, high = image.get_clim()
    assert low == -high
    drawn = image.get_array()
    values = np.sort(drawn.compressed() if np.ma.isMaskedArray(drawn) else drawn.ravel())
    np.testing.assert_allclose(values[~np.isnan(values)], np.sort(dictionary.weights.ravel()))
    if facts.get("image_shape"):
        first = dictionary.weights[dictionary.order[0]].reshape(2, 3)
        np.testing.assert_allclose(np.asarray(drawn)[:2, :3], first)
        assert len(figure.axes[0].texts) == 14
    if "lowest_pitch" in facts:
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["C4"]


def test_units_of_colour_pictures_are_drawn_in_colour():
    info = DataInfo("tiny", "unit", 6, (0.5,) * 6, 3.0, 3, image_shape=(3, 1, 2))
    weights = np.random.default_rng(0).normal(size=(4, 6))
    figure = draw_dictionary(Dictionary("z", weights), info)
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    limit = np.percentile(np.abs(weights), 99.5)
    first = weights[Dictionary("z", weights).order[0]].reshape(3, 1, 2).transpose(1, 2, 0)
    np.testing.assert_allclose(drawn[:1, :2], ((first / limit + 1) / 2).clip(0, 1), atol=0.05)
    assert len(figure.axes) == 1  # no scale of colours


def test_activity_is_sorted_by_the_share_of_frames():
    share = np.array([0.1, 0.9, 0.5])
    frames = np.tile(share, (4, 1))
    left, right = latent_activity(frames, share).axes[:2]
    np.testing.assert_allclose(left.images[0].get_array()[:, 0], [0.9, 0.5, 0.1])
    assert [bar.get_width() for bar in right.patches] == [0.9, 0.5, 0.1]


class Few(ImplicitGuide):
    """Twenty latents, of which the first two depend on the row."""

    def generate(self, noise, batch):
        found = noise.clone()
        found[..., :2] = torch.tensor([0.8, -0.3]) * batch.x + 0.5 * noise[..., :2]
        return {"z": found}


@pytest.mark.parametrize("rows", [30, 3000])
def test_latents_that_ignore_the_rows_are_not_active_by_draws(rows):
    """Nor by few rows, of which single draws vary together by chance."""
    info = DataInfo("line", "real", 1, (0.0,), 1.0, 1, (1.0,))
    model = FeedForwardGenerator(info, latent_dim=20, hidden_dim=2)
    x = np.random.default_rng(0).normal(size=(rows, 1))
    sequences = Sequences(x, np.ones(rows, int))
    guide = Few(model, noise_dim=20)
    found = np.stack([drawn_activities(model, guide, sequences, seed=seed) for seed in range(12)])
    exact = np.zeros(20)
    exact[:2] = np.square([0.8, 0.3]) * x.var(ddof=1)
    assert_mean(torch.from_numpy(found), torch.from_numpy(exact))
    assert ((found > 0.01) == (exact > 0.01)).mean() > 0.99
