"""Implicit guides: sums of noise bases and their moments, and convolutions."""

import pytest
import torch

import pyrodgm as dgm
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import draw
from pyrodgm.errors import UsageError
from pyrodgm.guides import FeedForwardImplicit
from pyrodgm.models import VAE
from pyrodgm.objectives.critic_term import LEAST_SCALE, AdaptiveContrast


def pair(**options):
    splits = dgm.data.load("avb-points", copies=1)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    guide = FeedForwardImplicit(model, noise_dim=3, hidden_dim=8, **options)
    return guide, splits.train.batch(range(4))


def test_bases_are_functions_of_noises_of_their_own_that_rows_combine():
    guide, batch = pair(bases=5, basis_dim=6)
    noise = torch.randn(2, 4, 1, 15)
    v = guide.bases(noise)
    (first, second), (shift, last) = guide.bases.weights, guide.bases.biases
    own = noise.unflatten(-1, (5, 3))[..., 2, :]
    made = (own @ first[2].T + shift[2]).relu() @ second[2].T + last[2]
    torch.testing.assert_close(v[..., 2, :], made)
    start, scale = guide.bases.split(guide.network(guide.inputs(batch.x)))
    assert (scale > 0).all()
    expected = start + (scale * v).sum(-2)
    torch.testing.assert_close(guide.generate(noise, batch)["z"], expected)


def test_networks_of_bases_have_sizes_of_their_own():
    guide, _ = pair(bases=5, basis_dim=(6, 7))
    assert [tuple(w.shape) for w in guide.bases.weights] == [(5, 6, 3), (5, 7, 6), (5, 2, 7)]
    with pytest.raises(UsageError, match="give bases too"):
        pair(basis_dim=6)


def test_moments_by_bases_are_those_of_draws():
    guide, batch = pair(bases=5)
    with torch.no_grad():
        mean, scale = guide.moments(batch, 20_000)
    z = draw(guide, batch, 20_000, pathwise=False).values["z"]
    torch.testing.assert_close(mean["z"], z.mean(0), atol=0.02, rtol=0.02)
    torch.testing.assert_close(scale["z"], z.std(0), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("bases", [0, 2])
def test_adaptive_contrast_takes_the_moments_that_there_are(bases):
    guide, batch = pair(bases=bases)
    found = AdaptiveContrast(guide, batch, 3000)
    assert not found.mean["z"].requires_grad
    z = draw(guide, batch, 3000, pathwise=False).values["z"]
    torch.testing.assert_close(found.mean["z"], z.mean(0), atol=0.05, rtol=0.05)
    torch.testing.assert_close(found.scale["z"], z.std(0) + LEAST_SCALE, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("bases", [0, 2])
def test_pictures_are_convolved(bases):
    info = DataInfo("bits", "binary", 16, (0.5,) * 16, 1.0, 1, image_shape=(4, 4))
    guide = FeedForwardImplicit(VAE(info, latent_dim=2, hidden_dim=4), bases=bases, network="conv")
    assert draw(guide, Batch.of(torch.ones(3, 1, 16)), 5).values["z"].shape == (5, 3, 1, 2)
