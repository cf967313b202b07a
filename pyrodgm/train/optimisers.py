"""Optimisers: Adam and the RMSprop of Graves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyrodgm.objectives.optimizer import OptimizerOptions

BETAS = (0.9, 0.999)  # of Adam
PIECE = 65_536  # numbers of each tensor that GravesRMSprop updates together


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """The optimiser of one phase.

    Decoupled weight decay is not applied to biases, which a decay would pull from the data's means:
    parameters of one dimension, or with "bias" in the last part of their name.

    Args:
        parameters: the parameters to update, by name.
        options: name, learning rate, betas and weight decay.
    """
    if options.optimizer == "rmsprop":
        # As published: all parameters decay.
        return GravesRMSprop(parameters.values(), lr=options.lr, weight_decay=options.weight_decay)
    adam: dict[str, Any] = {"lr": options.lr, "betas": options.betas or BETAS, "fused": True}
    if not options.weight_decay:
        return torch.optim.Adam(parameters.values(), **adam)
    biases = {name for name, each in parameters.items() if _is_bias(name, each)}
    groups = [
        {"params": [p for name, p in parameters.items() if name not in biases]},
        {
            "params": [parameters[name] for name in parameters if name in biases],
            "weight_decay": 0.0,
        },
    ]
    decaying = [group for group in groups if group["params"]]
    return torch.optim.AdamW(decaying, weight_decay=options.weight_decay, **adam)


def _is_bias(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() <= 1 or "bias" in name.rpartition(".")[2]


class GravesRMSprop(torch.optim.Optimizer):
    r"""Centred RMSprop with momentum, as used for the published sigmoid belief networks.

    .. math::
        r &\leftarrow \rho r + (1 - \rho) g^2, \qquad m \leftarrow \rho m + (1 - \rho) g \\
        b &\leftarrow \mu b + \eta\, \frac{g + \lambda \theta}{\sqrt{r - m^2 + \epsilon}}, \qquad
        \theta \leftarrow \theta - b

    Args:
        parameters: :math:`\theta`.
        lr: :math:`\eta`.
        weight_decay: :math:`\lambda`; it is not part of r and m.
        rho: weight of the past in r and m, which start at the first gradient.
        momentum: :math:`\mu`.
        eps: :math:`\epsilon`, inside the root.

    Reference: Graves, Generating sequences with recurrent neural networks, 2013, equations 38 to
    45, in the form of the published code of Gan et al., 2015. `torch.optim.RMSprop` differs: its
    epsilon stands outside the root and its weight decay enters r.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 1e-4,
        rho: float = 0.95,
        momentum: float = 0.9,
        eps: float = 1e-4,
    ) -> None:
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "rho": rho, "momentum": momentum, "eps": eps,
        }  # fmt: skip
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient.

        It is skipped if the attribute `found_inf`, a number on the device, is 1, as by torch's
        fused optimisers.
        """
        del closure
        skipped = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                if gradient is None:
                    continue
                if not state:
                    start = gradient if skipped is None else gradient.where(skipped == 0, 0.0)
                    state["r"], state["m"] = start.square(), start.clone()
                    state["b"] = torch.zeros_like(parameter)
                if skipped is None:
                    _update(parameter, gradient, state, group)
                    continue
                now = [parameter, *state.values()]
                before = [tensor.clone() for tensor in now]
                _update(parameter, gradient, state, group)
                for new, old in zip(now, before, strict=True):
                    new.copy_(new.where(skipped == 0, old))


def _update(
    parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
) -> None:
    rho, mu = group["rho"], group["momentum"]
    for theta, g, r, m, b in _pieces(parameter, gradient, state["r"], state["m"], state["b"]):
        r.lerp_(g.square(), 1 - rho)
        m.lerp_(g, 1 - rho)
        # Rounding can leave the variance of large gradients below zero.
        variance = torch.addcmul(r, m, m, value=-1).clamp_(min=0)
        scale = variance.add_(group["eps"]).sqrt_()
        direction = torch.add(g, theta, alpha=group["weight_decay"]).div_(scale)
        b.mul_(mu).add_(direction, alpha=group["lr"])
        theta.sub_(b)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Corresponding pieces of all tensors, small enough to stay in the cache of a core."""
    if tensors[0].is_cuda or not all(tensor.is_contiguous() for tensor in tensors):
        return iter((tensors,))
    return zip(*(tensor.view(-1).split(PIECE) for tensor in tensors), strict=True)
