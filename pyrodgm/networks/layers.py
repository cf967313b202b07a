"""Layers of sigmoid belief networks: log-odds of binary units from past and parents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, cast, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.sampler import SiteSampler
from pyrodgm.engine.sites import Kind, Site
from pyrodgm.engine.sweeps import Sweeps, sweeps_pay
from pyrodgm.networks.first_steps import FirstSteps

LayerSizes = (
    Annotated[int, Field(ge=1)]
    | Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
)


def layer_sizes(hidden_dim: int | tuple[int, ...]) -> tuple[int, ...]:
    """Units of every layer, the lowest first; a number is a single layer.

    >>> layer_sizes(100), layer_sizes((25, 30))
    ((100,), (25, 30))
    """
    return tuple(hidden_dim) if isinstance(hidden_dim, Iterable) else (int(hidden_dim),)


def layer_sites(hidden_dim: int | tuple[int, ...], kind: Kind = "binary") -> dict[str, Site]:
    """The site of every layer, by name, the lowest first.

    >>> list(layer_sites(100)), list(layer_sites((25, 30)))
    (['z'], ['z1', 'z2'])
    """
    sites = [Site(size, kind) for size in layer_sizes(hidden_dim)]
    if len(sites) == 1:
        return {"z": sites[0]}
    return {f"z{number}": site for number, site in enumerate(sites, start=1)}


def weights(in_dim: int, out_dim: int, scale: float) -> nn.Linear | None:
    """A linear map without bias; None where there is nothing to map."""
    if in_dim == 0:
        return None
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=scale)
    return layer


Connect = Callable[[int, int, float], nn.Module | None]  # sizes of input and output, and scale


def plus(total: Tensor, layer: nn.Module | None, value: Tensor | None) -> Tensor:
    """A sum with one more term, where there is one."""
    return total if layer is None or value is None else total + layer(value)


class SigmoidLayers(nn.ModuleList):
    """Sigmoid layers, the lowest first."""

    def __iter__(self) -> Iterator[SigmoidLayer]:
        return cast("Iterator[SigmoidLayer]", super().__iter__())


@final
class SigmoidLayer(nn.Module, StochasticCell):
    r"""Binary units of a layer, by their log-odds.

    .. math:: l_t = W_{own}\, z_{t-n:t-1} + W_{past}\, y_{t-n:t-1} + W_{now}\, v_t
        + W_{given}\, u_t + b_{\min(t,n)}

    Args:
        dim: its units J.
        own_dim: size of its own past, n J; 0 leaves the term out.
        past_dim: size of another layer's past.
        now_dim: size of another layer in the same frame.
        history: lags n; the first n frames have biases of their own.
        scale: standard deviation of the initial weights.
        given_dim: conditions u of every frame.
        connect: makes the contribution of the other layer in the same frame; a linear map
            :math:`W_{now}` by default.
    """

    def __init__(
        self,
        dim: int,
        own_dim: int,
        past_dim: int,
        now_dim: int,
        *,
        history: int,
        scale: float,
        given_dim: int = 0,
        connect: Connect = weights,
    ) -> None:
        super().__init__()
        self.own = weights(own_dim, dim, scale)
        self.past = weights(past_dim, dim, scale)
        self.now = connect(now_dim, dim, scale)
        self.bias = FirstSteps(dim, history)
        self.given = weights(given_dim, dim, scale)

    def biases(self, t: Tensor, given: Tensor | None) -> Tensor:
        """What frames t add to the log-odds by their number and their conditions, (..., J)."""
        return plus(self.bias(t), self.given, given)

    def forward(self, own: Tensor, past: Tensor, now: Tensor | None, bias: Tensor) -> Tensor:
        """The log-odds (..., J); what all particles share is added up first, once."""
        shared = plus(bias, self.past, past)
        return plus(plus(shared, self.own, own), self.now, now)

    def drive(self, past: Tensor, now: Tensor | None, bias: Tensor) -> Tensor:
        """The log-odds without the contribution of the layer's own past, (..., J)."""
        return plus(plus(bias, self.past, past), self.now, now)

    def distribution(self, drive: Tensor, own: Tensor) -> BernoulliVector:
        """The units, given the rest of their log-odds and their own past."""
        return BernoulliVector(plus(drive, self.own, own))

    def path(self, drive: Tensor, start: Tensor, sampler: SiteSampler) -> Tensor:
        """All frames, (*leading, T, J); in sweeps over time where these are faster than a loop."""
        if self.own is not None and sweeps_pay(self.own, drive, sampler):
            return Sweeps(self, self.own, drive, sampler, start).path()
        return super().path(drive, start, sampler)


def small_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """A linear map without bias that starts near zero."""
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=0.01)
    return layer
