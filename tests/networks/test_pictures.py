"""Convolutional networks of pictures of any size: shapes, adjoints, and every row on its own."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError, UsageError
from pyrodgm.networks.conditional import Conditional
from pyrodgm.networks.emissions import make_emission
from pyrodgm.networks.pictures import (
    PictureDecoder,
    PictureEncoder,
    picture_output,
)

SIZES = [(1, 1), (2, 3), (5, 7), (8, 8), (9, 4), (28, 28), (1, 30)]


def info(*shape, kind="unit"):
    dim = int(torch.tensor(shape).prod())
    return DataInfo("toy", kind, dim, (0.5,) * dim, 1.0, 1, std=(1.0,) * dim, image_shape=shape)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layers", [4, (2, 3), (2, 3, 4)])
def test_pictures_of_any_size_and_back(size, layers):
    facts = info(3, *size)
    encoder = PictureEncoder(facts, layers)
    features = encoder(torch.rand(2, 5, 1, facts.dim))
    assert features.shape == (2, 5, 1, encoder.dim)
    decoder = PictureDecoder(facts, 6, 2 * facts.dim, layers)
    assert decoder(torch.rand(2, 5, 1, 6)).shape == (2, 5, 1, 2 * facts.dim)
    assert decoder(torch.rand(6)).shape == (2 * facts.dim,)
    assert decoder.shapes == encoder.shapes


@pytest.mark.parametrize("size", SIZES)
def test_a_layer_of_the_decoder_is_the_adjoint_of_that_of_the_encoder(double_precision, size):
    """With the same kernels, the inner product of C x with y is that of x with the adjoint of y."""
    facts = info(2, *size)
    down = PictureEncoder(facts, 3).layers[0]
    up = PictureDecoder(facts, 4, facts.dim, 3).layers[0]
    assert isinstance(down, nn.Conv2d)
    assert isinstance(up, nn.ConvTranspose2d)
    up.weight.copy_(down.weight)
    x = torch.rand(1, 2, *size)
    above = F.conv2d(x, down.weight, None, down.stride, down.padding)
    y = torch.rand_like(above)
    assert up(y).shape == x.shape
    torch.testing.assert_close((above * y).sum(), (x * up(y)).sum())


def test_the_output_has_a_bias_for_every_number_and_blocks_of_pictures(double_precision):
    facts = info(3, 5, 4)
    decoder = PictureDecoder(facts, 6, 2 * facts.dim, (2, 3))
    decoder.bias.copy_(torch.arange(2.0 * facts.dim))
    for layer in decoder.layers:
        layer.weight.zero_()
    torch.testing.assert_close(decoder(torch.rand(7, 6)), decoder.bias.expand(7, -1))
    _, lower = decoder.layers[1], decoder.layers[0]
    lower.weight[:, 4] = 1.0  # channel 1 of the second block
    nn.init.constant_(decoder.layers[1].bias, 1.0)
    changed = decoder(torch.rand(6)) != decoder.bias
    assert changed.reshape(2, 3, 20).all(-1).tolist() == [[False] * 3, [False, True, False]]
    assert not changed.reshape(2, 3, 20)[[0, 0, 0, 1, 1], [0, 1, 2, 0, 2]].any()


def test_shifted_pictures_have_shifted_features(double_precision):
    """By the product of all strides, away from the margins."""
    facts = info(1, 16, 16)
    encoder = PictureEncoder(facts, (2, 3))
    x = torch.zeros(16, 16)
    x[5:9, 5:9] = torch.rand(4, 4)
    shifted = x.roll((4, 4), (0, 1))
    before, after = (encoder(each.flatten()).reshape(3, 4, 4) for each in (x, shifted))
    torch.testing.assert_close(after[:, 2:, 2:], before[:, 1:-1, 1:-1])


def test_no_picture_sees_another(double_precision):
    facts = info(3, 7, 5)
    encoder, decoder = PictureEncoder(facts), PictureDecoder(facts, 6, facts.dim)
    for network, dim in ((encoder, facts.dim), (decoder, 6)):
        x = torch.rand(2, 3, 2, dim)
        each = torch.stack([network(row) for row in x.reshape(-1, dim)])
        torch.testing.assert_close(network(x), each.reshape(2, 3, 2, -1))


def test_gradients_reach_every_parameter():
    facts = info(1, 6, 5)
    encoder, emission = PictureEncoder(facts, (2, 3)), make_emission("auto", facts)
    output = picture_output((2, 3), facts, emission, (5, 4))
    decoder = Conditional(encoder.dim, emission, (5, 4), start=emission.start(facts), output=output)
    x = torch.rand(8, facts.dim)
    decoder(encoder(x)).log_prob(x.round()).sum().backward()
    for network in (encoder, decoder):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_pictures_start_at_the_means_of_the_data():
    facts = replace(info(1, 2, 2), mean=(0.1, 0.2, 0.3, 0.4))
    emission = make_emission("auto", facts)
    output = picture_output((2,), facts, emission, 3)
    decoder = Conditional(2, emission, 3, start=emission.start(facts), output=output)
    torch.testing.assert_close(output.bias.sigmoid(), torch.tensor(facts.mean))
    assert decoder.last is output


ROWS = replace(info(2, 2), image_shape=None)


def test_rows_that_are_not_pictures_are_refused():
    with pytest.raises(DataError, match=r"frames of 'toy' are not pictures.*image_shape"):
        PictureEncoder(ROWS)
    with pytest.raises(DataError, match="network 'dense'"):
        PictureDecoder(ROWS, 3, 4)


def test_emissions_with_other_numbers_than_those_of_pixels_are_refused():
    facts = info(2, 2, kind="binary")
    with pytest.raises(UsageError, match="NADEBits has others"):
        picture_output("conv", facts, make_emission("nade", facts), 3)


def test_layers_start_with_the_size_of_their_inputs(double_precision):
    """The mean square of what a rectified layer gives is that of its input, within sampling."""
    facts = info(1, 32, 32)
    decoder = PictureDecoder(facts, 400, facts.dim, (64, 64))
    maps = torch.randn(200, 64, 8, 8)
    out = decoder.layers[1](maps.relu())[..., 2:-2, 2:-2]
    assert out.square().mean() == pytest.approx(1.0, rel=0.15)
    encoder = PictureEncoder(facts, (64, 64))
    out = encoder.layers[2](torch.randn(200, 64, 16, 16).relu())[..., 1:-1, 1:-1]
    assert out.square().mean() == pytest.approx(1.0, rel=0.15)
