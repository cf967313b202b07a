"""Critics: networks that compare draws of two distributions, and what bounds their slope."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import Site, in_order, sizes
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import GRUCell, LSTMCell
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import layer_sizes
from pyrodgm.networks.mlp import relu_network


class JointCritic(nn.Module):
    r"""A number T(x, z) for every frame and its latents, from rectified layers over both together.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: units of every hidden layer; a number is a single layer.
    """

    def __init__(
        self, info: DataInfo, latents: Mapping[str, Site], hidden_dim: int | tuple[int, ...]
    ) -> None:
        super().__init__()
        self.sites = tuple(latents)
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        dim = self.inputs.dim + self.conditions.dim + sum(sizes(latents).values())
        self.network = relu_network(dim, hidden_dim, 1)

    def forward(self, batch: Batch, **latents: Tensor) -> Tensor:
        """Of frames (B, T, D) and latents (K, B, T, J) by site, (K, B, T)."""
        given = self.conditions(batch)
        parts = [self.inputs(batch.x), *([] if given is None else [given])]
        return self.network(join(*parts, *in_order(latents, self.sites))).squeeze(-1)


class InnerProductCritic(nn.Module):
    r"""A number for every frame and its latents, the inner product of two networks.

    .. math:: T(x, z) = f(x, u)^\top g(z) \; [+\, a(x, u) + b(z) + \tfrac12 \lVert z \rVert^2]

    where u are conditions, if any, and the terms in brackets are options of the published code: the
    last is the part of minus the log-density of a standard normal prior that depends on z.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: rectified units of every hidden layer of each network, whose last is also the
            size of f and g; a number is a single layer.
        own: whether the terms in brackets are part of it.

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, section 4.
    """

    def __init__(
        self,
        info: DataInfo,
        latents: Mapping[str, Site],
        hidden_dim: int | tuple[int, ...],
        *,
        own: bool = False,
    ) -> None:
        super().__init__()
        self.sites = tuple(latents)
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        self.own, size = own, layer_sizes(hidden_dim)[-1]
        of_x, of_z = self.inputs.dim + self.conditions.dim, sum(sizes(latents).values())
        self.of_x = relu_network(of_x, hidden_dim, size + own)
        self.of_z = relu_network(of_z, hidden_dim, size + own)

    def forward(self, batch: Batch, **latents: Tensor) -> Tensor:
        """Of frames (B, T, D) and latents (K, B, T, J) by site, (K, B, T)."""
        given, z = self.conditions(batch), join(*in_order(latents, self.sites))
        x = join(self.inputs(batch.x), *([] if given is None else [given]))
        f, g = self.of_x(x), self.of_z(z)
        if not self.own:
            return (f * g).sum(-1)
        inner = (f[..., :-1] * g[..., :-1]).sum(-1)
        return inner + f[..., -1] + g[..., -1] + 0.5 * z.square().sum(-1)


class PathCritic(nn.Module):
    """A number for a whole path of latents, from a recurrence and rectified layers over its end.

    There is no bias on top: only differences of these numbers are looked at.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: units of the recurrence, an LSTM, and of the rectified layers above it; a number
            is the recurrence alone.
        pairs: whether it sees the frames and their conditions beside the latents.

    Reference: Huang and Xiao, Regularized sequential latent variable models with adversarial neural
    networks, 2021, section VI, where it sees the latents alone.
    """

    def __init__(
        self,
        info: DataInfo,
        latents: Mapping[str, Site],
        hidden_dim: int | tuple[int, ...],
        *,
        pairs: bool = False,
    ) -> None:
        super().__init__()
        self.sites = tuple(latents)
        self.inputs = Inputs(info) if pairs else None
        self.conditions = Conditions(info) if pairs else None
        of_frames = (self.inputs, self.conditions)
        dim = sum(sizes(latents).values()) + sum(each.dim for each in of_frames if each)
        first, *above = layer_sizes(hidden_dim)
        self.cell = LSTMCell(dim, first)
        self.network = relu_network(first, tuple(above), 1, bias=False)

    def forward(self, batch: Batch, **latents: Tensor) -> Tensor:
        """Of B sequences and latents (K, B, T, J) by site, (K, B)."""
        parts = in_order(latents, self.sites)
        if self.inputs is not None and self.conditions is not None:
            given = self.conditions(batch)
            parts += [self.inputs(batch.x), *([] if given is None else [given])]
        outputs = self.cell.outputs(join(*parts))
        last = (batch.lengths - 1)[:, None, None].expand(*outputs.shape[:-2], 1, outputs.shape[-1])
        return self.network(outputs.gather(-2, last).squeeze(-2)).squeeze(-1)


class FutureCritic(nn.Module):
    r"""A number T(z_t, x_{t+1:T}) for every frame, by a recurrence over the frames after it.

    .. math:: b_t = \mathrm{GRU}(x_t, u_t, b_{t+1}), \quad b_{T+1} = 0, \qquad
        T(z_t, x_{t+1:T}) = f(z_t, b_{t+1})

    where f are rectified layers, whose output starts at zero.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: units of the recurrence, and of the rectified layers above it; a number is the
            recurrence and a single layer of as many units.
    """

    def __init__(
        self, info: DataInfo, latents: Mapping[str, Site], hidden_dim: int | tuple[int, ...]
    ) -> None:
        super().__init__()
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        self.names = tuple(latents)
        first, *above = layer_sizes(hidden_dim)
        self.cell = GRUCell(self.inputs.dim + self.conditions.dim, first)
        dim = first + sum(sizes(latents).values())
        self.network = relu_network(dim, tuple(above) or first, 1, bias=False)
        nn.init.zeros_(self.network[-1].get_parameter("weight"))

    def encode(self, batch: Batch) -> Tensor:
        """The recurrence over the frames after each frame, (B, T, H); zero at the end."""
        given = self.conditions(batch)
        inputs = join(self.inputs(batch.x), *([] if given is None else [given]))
        return F.pad(backward_outputs(self.cell, inputs, batch)[:, 1:], (0, 0, 0, 1))

    def forward(self, values: Mapping[str, Tensor], encoded: Tensor) -> Tensor:
        """Of latents (..., J) by site and features (..., H) of the same frames, (...)."""
        return self.network(join(encoded, *(values[n] for n in self.names))).squeeze(-1)


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    r"""The norm of the gradient of a function of points, (..., D) to (...).

    .. math:: \lVert \nabla_x f(x) \rVert_2

    It carries gradients to the parameters of the function.

    Args:
        function: f, of each point alone, (..., D) to (...).
        x: the points.

    >>> slope(lambda x: 3 * x[..., 0] - 4 * x[..., 1], torch.zeros(2, 2))
    tensor([5., 5.])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return gradient.norm(dim=-1)


def bound_spectrum(module: nn.Module, most: float) -> None:
    r"""Scale every weight matrix down to a largest singular value of at most a bound.

    .. math:: W \leftarrow W / \max(1, \sigma_{\max}(W) / c)

    Args:
        module: the critic.
        most: c.

    The kernel of a convolution is taken as the matrix from what one place sees to its outputs, as
    in the reference of spectral normalisation; the slope of the convolution itself may be larger,
    by at most the square root of the size of the kernel.

    Reference: Gouk et al., Regularisation of neural networks by enforcing Lipschitz continuity,
    2021, algorithm 2.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                largest = torch.linalg.matrix_norm(parameter.flatten(1), ord=2)
                parameter.div_((largest / most).clamp(min=1.0))


def clip_weights(module: nn.Module, most: float) -> None:
    """Set every parameter that is beyond a bound to the bound."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-most, most)
