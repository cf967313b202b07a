"""Operations are counted as they are made."""

import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate.work import PER_NUMBER, Work, replicating, weighing
from pyrodgm.guides import Factorised
from pyrodgm.models import VAE

PIXELS, LATENTS, HIDDEN = 64, 2, 5


@pytest.fixture
def data():
    x = (np.random.default_rng(0).random((3, PIXELS)) < 0.5).astype(np.uint8)
    part = Sequences(x, np.ones(3, dtype=int))
    parts = dict.fromkeys(("train", "valid", "test"), part)
    return Splits.of("toy", "binary", parts, image_shape=(8, 8))


def pair(data, network):
    torch.manual_seed(0)
    model = VAE(data.info, latent_dim=LATENTS, hidden_dim=HIDDEN, network=network)
    return model, Factorised(model, hidden_dim=HIDDEN, network=network)


def test_products_are_those_of_the_encoder_once_and_of_the_decoder_for_each_draw(data):
    model, guide = pair(data, "dense")
    work = weighing(model, guide, data.test)
    decoder = LATENTS * HIDDEN + HIDDEN * PIXELS
    encoder = PIXELS * HIDDEN + HIDDEN * 2 * LATENTS
    assert decoder < work.each < decoder + 20 * PIXELS * PER_NUMBER
    assert (work.each - decoder) % PER_NUMBER == 0
    assert (work.once - encoder) % PER_NUMBER == 0
    drawn = replicating(model, data.test)
    assert decoder < drawn.each < decoder + 20 * PIXELS * PER_NUMBER
    assert (drawn.each - decoder) % PER_NUMBER == 0


def test_shared_kernels_count_for_every_pixel(data):
    dense, conv = (weighing(*pair(data, network), data.test) for network in ("dense", (4,)))
    kernels = 4 * 4 * 4 * 9  # channels, positions, and a kernel of 3 x 3
    assert conv.each > dense.each - HIDDEN * PIXELS + kernels
    assert conv.once > dense.once - HIDDEN * PIXELS + kernels


def test_counting_changes_nothing(data):
    model, guide = pair(data, "dense")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = weighing(model, guide, data.test)
    assert torch.equal(torch.rand(2), expected)
    assert weighing(model, guide, data.test) == one


def test_work_is_added_and_multiplied():
    assert (Work(3, 2) + Work(1, 1)).of(10) == 34
