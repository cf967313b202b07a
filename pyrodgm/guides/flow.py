"""Recognition networks of rows whose normal latents pass through a normalising flow."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field
from torch import nn

from pyrodgm.engine.sites import sizes
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Target
from pyrodgm.guides.rows import SPREAD, RowRecognition
from pyrodgm.networks.conditional import Conditional
from pyrodgm.networks.flows import Flow, FlowName
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK
from pyrodgm.networks.pictures import Network, dense_layers

Size = Annotated[int, Field(ge=1)]
LEAST_UNITS = 32


@final
class NormalFlow(RowRecognition):
    r"""Normal latents of a row that pass through invertible maps.

    .. math:: z_0 \sim \mathcal N(\mu(x, u), \mathrm{diag}\, \sigma(x, u)^2), \qquad
        z = f_L(\dots f_1(z_0)), \qquad
        \log q(z \mid x) = \log q(z_0 \mid x) - \sum_l
            \log \Big| \det \frac{\partial f_l}{\partial z_{l-1}} \Big|

    where u are conditions, if any, and all parameters of the maps are functions of x and u.

    - "iaf": inverse autoregressive flow, :math:`f(z)_i = \sigma_i z_i + \mu_i` with both a network
      of :math:`z_{<i}`. The order changes from map to map. A single latent stays normal.
    - "spline": the same with a monotone spline in the place of the affine function.
    - "planar": :math:`f(z) = z + a \tanh(w^T z + b)`.
    - "radial": :math:`f(z) = z + \beta (z - c) / (\alpha + |z - c|)`.

    The density of given values, as `rws`, `jsa` and `stl` need it, takes the inverse of the maps:
    one evaluation of the network per latent for "iaf" and "spline", a bisection for "planar", and a
    formula for "radial". Several latent sites are independent of each other given the row.

    Args:
        model: the model p, whose latent sites are continuous.
        flow: "iaf", "spline", "planar" or "radial".
        flow_layers: maps in a row, L.
        flow_dim: hidden units of the networks of "iaf" and "spline", at least the latents of a
            site; by default twice as many, and at least 32.
        hidden_dim: rectified units of every hidden layer of the network of the row; a number is a
            single layer. By default two layers of 200, and with convolutions one.
        network: "dense"; or, for rows that are pictures, "conv", with convolutions before the
            hidden layers, or their channels, the first next to the picture. "conv" is (32, 64).

    Raises:
        DataError: rows are not pictures for "conv".
        UsageError: units for a flow without networks, or too few.

    Reference: Rezende and Mohamed, Variational inference with normalizing flows, 2015; Kingma et
    al., Improving variational inference with inverse autoregressive flow, 2016.
    """

    def __init__(
        self,
        model: Target,
        *,
        flow: FlowName = "iaf",
        flow_layers: Size = 2,
        flow_dim: Size | None = None,
        hidden_dim: LayerSizes | None = None,
        network: Network = "dense",
    ) -> None:
        super().__init__(model, network=network)
        hidden_dim = dense_layers(network, hidden_dim)
        dims = sizes(self.latents)
        _check_units(flow, flow_dim, max(dims.values()))
        flows = {
            name: Flow(dim, flow, flow_layers, flow_dim or max(2 * dim, LEAST_UNITS), spread=SPREAD)
            for name, dim in dims.items()
        }
        self.posteriors = nn.ModuleDict(
            {
                name: Conditional(
                    self.features_dim,
                    each,
                    hidden_dim,
                    start=each.start(),
                    shrink=1.0,
                    leak=LEAK,
                )
                for name, each in flows.items()
            }
        )


def _check_units(flow: FlowName, units: int | None, dim: int) -> None:
    """Refuse units that no network has, or that cannot be connected to all latents."""
    if units is None:
        return
    if flow in ("planar", "radial"):
        raise UsageError(
            f"flow_dim is {units}, but the maps of flow '{flow}' have no networks; leave it out, "
            "or take flow 'iaf' or 'spline'"
        )
    if units < dim:
        raise UsageError(
            f"flow_dim is {units}, and a latent site has {dim} numbers; give at least {dim}"
        )
