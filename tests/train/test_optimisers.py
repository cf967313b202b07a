"""Update rules against the formulas, number by number."""

import pytest
import torch
from torch import nn

from pyrodgm.setup.options import FitOptions
from pyrodgm.train.optimisers import GravesRMSprop, make_optimizer


def test_graves_rmsprop_is_the_published_rule() -> None:
    theta = nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.float64))
    gradients = torch.randn(7, 2, dtype=torch.float64)
    optimizer = GravesRMSprop([theta], lr=0.1, weight_decay=0.3)
    by_hand = theta.detach().clone().tolist()
    moments = [None, None]
    for gradient in gradients:
        for i, g in enumerate(gradient.tolist()):
            r, m, b = moments[i] or (g * g, g, 0.0)
            r, m = 0.95 * r + 0.05 * g * g, 0.95 * m + 0.05 * g
            b = 0.9 * b + 0.1 * (g + 0.3 * by_hand[i]) / (r - m * m + 1e-4) ** 0.5
            by_hand[i] -= b
            moments[i] = (r, m, b)
        theta.grad = gradient.clone()
        optimizer.step()
    assert theta.tolist() == pytest.approx(by_hand, rel=1e-12)


def test_large_parameters_are_updated_whole_whatever_the_layout_of_their_gradient() -> None:
    start, gradients = torch.randn(300, 500), torch.randn(3, 300, 500)
    ends = []
    for turned in (False, True):
        theta = nn.Parameter(start.clone())
        optimizer = GravesRMSprop([theta], lr=0.1)
        for gradient in gradients:
            theta.grad = gradient.T.contiguous().T if turned else gradient
            optimizer.step()
        ends.append(theta.detach())
    parts = [nn.Parameter(row.clone()) for row in start]
    optimizer = GravesRMSprop(parts, lr=0.1)
    for gradient in gradients:
        for part, row in zip(parts, gradient, strict=True):
            part.grad = row
        optimizer.step()
    torch.testing.assert_close(ends[0], torch.stack([part.detach() for part in parts]))
    torch.testing.assert_close(ends[1], ends[0])


def test_large_gradients_that_hardly_change_leave_no_negative_variance() -> None:
    theta = nn.Parameter(torch.zeros(1000))
    optimizer = GravesRMSprop([theta], lr=1e-4)
    gradient = 1e4 * torch.randn(1000)
    for _ in range(5):
        theta.grad = gradient
        optimizer.step()
        assert theta.isfinite().all()


def test_parameters_without_gradient_stay() -> None:
    theta = nn.Parameter(torch.ones(2))
    GravesRMSprop([theta], lr=1.0).step()
    assert theta.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, torch.optim.Adam),
        ({"weight_decay": 0.1}, torch.optim.AdamW),
        ({"optimizer": "rmsprop"}, GravesRMSprop),
    ],
)
def test_the_options_choose_the_rule(options, kind) -> None:
    made = make_optimizer({"w": nn.Parameter(torch.ones(1, 1))}, FitOptions(lr=0.2, **options))
    assert type(made) is kind
    assert made.param_groups[0]["lr"] == 0.2
    assert made.param_groups[0]["weight_decay"] == options.get("weight_decay", 0)


def test_weights_decay_and_biases_do_not() -> None:
    layer = nn.Linear(2, 2)
    layer.starts = nn.ParameterDict({"bias": torch.ones(2, 2)})
    before = {name: each.detach().clone() for name, each in layer.named_parameters()}
    options = FitOptions(lr=0.5, weight_decay=0.1)
    made = make_optimizer(dict(layer.named_parameters()), options)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    torch.testing.assert_close(layer.weight.data, 0.95 * before["weight"])
    assert torch.equal(layer.bias, before["bias"])
    assert torch.equal(layer.starts["bias"], before["starts.bias"])
