"""The slip of the published code, against sums over all latents."""

import torch

from oracles import all_paths, assert_mean, bernoulli
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.models import TSBN
from pyrodgm.reproduce.slip import has_slip, slipped_step
from variants import pair


def test_the_published_slip_lets_latents_see_the_frame_and_nothing_else():
    model, guide = pair("tsbn")
    x = torch.rand(2, 3).double()
    layer, z = model.layers[0], all_paths(1, 2)[:, 0]
    first = layered(guide, x[0], z)
    exact = torch.zeros(3).double()
    for before, chance in zip(z, first, strict=True):
        logits = layer.own.weight @ before + layer.past.weight @ x[1] + layer.bias.bias[1]
        now = bernoulli(logits, z).exp()
        means = z @ model.x_from_z.weight.T + model.x_from_x.weight @ x[0] + model.x_bias.bias[1]
        exact += chance * (now @ means.sigmoid())
    batch = Batch.of(x.expand(20_000, *x.shape).clone())
    with torch.no_grad():
        found, _ = slipped_step(model, guide, batch, samples=1, tick=lambda _: None)
    assert_mean(found[:, 1], exact.detach())


def layered(guide, x, z):
    """q(z_1) of every z (S, J), having seen the first frame."""
    layer = guide.layers[0]
    return bernoulli(layer.now.weight @ x + layer.bias.bias[0], z).exp()


def test_only_a_tsbn_of_order_one_has_it():
    info = DataInfo("tiny", "binary", 3, (0.5,) * 3, 6.0, 6)
    assert has_slip(TSBN(info, hidden_dim=2))
    assert not has_slip(TSBN(info, hidden_dim=2, history=2))
