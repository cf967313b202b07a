"""Rows between draws: ends are draws, and vectors in between keep a typical length."""

import numpy as np
import torch

import pyrodgm as dgm
from pyrodgm.evaluate.latents.cloud import clouds
from pyrodgm.evaluate.latents.interpolation import _between, can_interpolate, interpolations
from pyrodgm.evaluate.prediction.reconstruction import reconstruction_error
from pyrodgm.figures.latents import latent_scatter


def test_points_between_two_vectors_are_on_an_arc():
    ends = torch.tensor([[3.0, 0], [0, 3], [1, 0], [1, 0]])
    found = _between(ends, 3).reshape(2, 3, 2)
    torch.testing.assert_close(found[:, [0, 2]].reshape(4, 2), ends)
    torch.testing.assert_close(found[0].norm(dim=-1), torch.full((3,), 3.0))
    torch.testing.assert_close(found[1, 1], ends[2])


def test_generators_and_latents_are_interpolated():
    splits = dgm.data.load("gmm5", num_train=40, num_valid=4, num_test=30)
    generator = dgm.models.FeedForwardGenerator(splits.info)
    vae = dgm.models.VAE(splits.info, latent_dim=3)
    guide = dgm.guides.FeedForwardImplicit(vae)
    for model, of in ((generator, dgm.guides.NoGuide(generator)), (vae, guide)):
        assert can_interpolate(model, splits.info)
        given = (model, of, splits.info, splits.test)
        x = interpolations(*given, pairs=2, steps=4, seed=1)
        assert x.shape == (2, 4, 2)
        np.testing.assert_array_equal(x, interpolations(*given, pairs=2, steps=4, seed=1))
    found = clouds(vae, guide, splits.info, splits.test)["z"]
    assert found.points.shape == (30, 2)
    assert found.axes[1] == "z, principal component 2 of 3"
    assert set(found.labels.tolist()) <= set("01234")
    assert latent_scatter({"z": found}).axes[0].get_legend() is not None
    assert reconstruction_error(vae, guide, splits.test).value > 0


def test_the_error_of_a_reconstruction_is_known():
    """A generator that returns its latents, and a guide that knows them."""

    class Copy(dgm.models.Generator):
        def generate(self, noise, batch):
            return noise + 0.5

    class Known(dgm.guides.ImplicitGuide):
        def generate(self, noise, batch):
            return {"z": batch.x.expand(*noise.shape[:-1], -1)}

    splits = dgm.data.load("gmm5", num_train=40, num_valid=4, num_test=30)
    model = Copy(splits.info, noise_dim=0, latent_dim=2)
    model.any = torch.nn.Parameter(torch.zeros(()))
    found = reconstruction_error(model, Known(model, noise_dim=1), splits.test)
    np.testing.assert_allclose(found.value, 0.25, rtol=1e-5)
    np.testing.assert_allclose(found.error, 0, atol=1e-6)


def test_points_between_opposite_vectors_are_on_a_straight_line():
    ends = torch.tensor([[1.0], [-0.5], [2.0], [-2.0]])
    found = _between(ends, 5).reshape(2, 5)
    torch.testing.assert_close(found[0], torch.linspace(1, -0.5, 5))
    torch.testing.assert_close(found[1], torch.linspace(2, -2, 5))
