"""Gradients of gradients, as gradient penalties need them: right, or refused, never wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.networks.cells import GRUCell, LSTMCell, ReLUCell, make_cell
from pyrodgm.networks.layers import SigmoidLayer
from pyrodgm.networks.mlp import tanh_network
from variants import randomised

B, T, D = 2, 4, 3
Score = Callable[[Tensor], Tensor]


def layer() -> Score:
    made = randomised(SigmoidLayer(D, D, D, 0, history=1, scale=0.5), std=0.6)
    bias = made.bias(torch.arange(T))
    return lambda x: made(x, x.tanh(), None, bias).sigmoid()


def likelihood(make: Callable[[Tensor], torch.distributions.Distribution]) -> Score:
    """A log-probability of the input, whose distribution depends on it too."""
    return lambda x: make(x.tanh()).log_prob(x.sigmoid())


def shared_logits() -> Score:
    logits = torch.randn(T, D, dtype=torch.float64, requires_grad=True)
    return lambda x: BernoulliVector(logits).log_prob(x)


def cells(name: str) -> nn.Module:
    makers = {
        "gru": lambda: GRUCell(D, D),
        "lstm": lambda: LSTMCell(D, D),
        "relu": lambda: ReLUCell(D),
        "driven relu": lambda: make_cell("relu", D, D),
    }
    return randomised(makers[name](), std=0.6)


SCORES: dict[str, Callable[[], Score]] = {
    "tanh network": lambda: randomised(tanh_network(D, 5), std=0.6),
    "sigmoid layer": layer,
    "bits": lambda: likelihood(BernoulliVector),
    "bits that share logits": shared_logits,
    "normal": lambda: likelihood(lambda x: NormalVector(x, x.exp())),
    "gru": lambda: cells("gru").outputs,
    "lstm": lambda: cells("lstm").outputs,
    "lstm, all states": lambda: cells("lstm").states,
}


@pytest.mark.parametrize("name", SCORES)
def test_the_gradient_of_a_gradient_is_that_of_finite_differences(name: str) -> None:
    score = SCORES[name]()
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: score(x).square().sum(), (x,))


@pytest.mark.parametrize("name", ["relu", "driven relu"])
def test_what_cannot_be_differentiated_twice_says_so(name: str) -> None:
    """Frame by frame it can be."""
    cell = cells(name)
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cell.outputs(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()

    def one_frame(x: Tensor) -> Tensor:
        return cell(x, torch.ones(B, cell.state_dim, dtype=torch.float64)).square().sum()

    assert torch.autograd.gradgradcheck(one_frame, (x[:, 0].detach().requires_grad_(),))
