"""Random fields of rows and pictures: a neural potential of bits, symbols or real numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.grid import (
    EDGE,
    FINEST,
    TOLERANCE,
    LogDensity,
    log_volume,
    on_grid,
    points,
)
from pyrodgm.errors import QuadratureWarning
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.bitwise import BitwisePath, states_of_bits
from pyrodgm.models.energies import Annealing
from pyrodgm.models.energy import ChainKind, EnergyModel
from pyrodgm.models.kernel_path import KernelPath
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.marginals import Marginals, refuse_other_data
from pyrodgm.networks.mlp import Leak
from pyrodgm.networks.pictures import Network
from pyrodgm.networks.row_potentials import RowPotential

MOST_BITS = 20  # of a row, whose states are enumerated; of symbols, as many states
MOST_REALS = 2  # over which the density is integrated
SWEPT_BITS = 64  # up to which annealing draws the bits one after the other
OUTSIDE = 1e-4  # share of the mass beyond the grid at which integration warns
CHAINS: dict[str, ChainKind] = {
    "binary": "gibbs-with-gradients",
    "categorical": "gibbs-with-gradients",
    "real": "sgld",
}


@final
class RandomField(EnergyModel):
    r"""A random field of independent rows, whose potential is a neural network.

    .. math:: p(x) = \frac1Z e^{u(x)}, \qquad u(x) = f(x) \;\; [+ \log q_0(x)]

    With a reference :math:`q_0`, the field is an exponential tilt of it: f = 0 is exactly
    :math:`q_0`, and for real numbers its tails keep the density normalisable, because f grows at
    most linearly.

    Log Z is exact for at most 20 bits, or as many states of symbols, by enumeration, and for at
    most two real numbers by integration over a grid of 8 standard deviations. Otherwise it is
    estimated by annealing from the marginals.

    Args:
        info: the data's facts; its features are D.
        network: of f: "dense"; or, for rows that are pictures, "conv" or the channels of
            convolutions with stride 2, which come before the dense layers.
        hidden_dim: leaky rectified units of every dense layer; a number is a single layer.
        leak: slope of the units below zero.
        smooth: whether units are smooth instead of rectified, which score matching needs.
        weight_norm: whether weights are parametrised by their direction and length.
        reference: "marginals" for the marginal distributions of the training data, independent
            frequencies of bits and symbols or a normal distribution of every real number; or
            "none".
        reference_scale: factor of the standard deviations of the reference of real numbers.

    Shapes: ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: values are neither bits, nor symbols, nor real numbers, or some are missing; or
            rows are not pictures for "conv".

    Reference: Ou, A review of learning with deep generative models from perspective of graphical
    modeling, 2018, equation 38; the exponential tilt: Xie et al., A theory of generative ConvNet,
    2016; leaky units and weight normalisation: Song and Ou, Learning neural random fields with
    inclusive auxiliary generators, 2018.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=False, density="unnormalised")
    companions: ClassVar[Companions] = Companions("none", "pcd", "gmm32")
    sweeps: int = 500

    def __init__(
        self,
        info: DataInfo,
        *,
        network: Network = "dense",
        hidden_dim: LayerSizes = (100, 100),
        leak: Leak = 0.2,
        smooth: bool = False,
        weight_norm: bool = False,
        reference: Literal["marginals", "none"] = "marginals",
        reference_scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(info)
        refuse_other_data(info, "RandomField", Marginals.kinds)
        self.chain = CHAINS[info.kind]
        self.exactly_by = "integration" if info.kind == "real" else "enumeration"
        self.smooth = smooth
        self.network = RowPotential(
            info, network, hidden_dim, leak=leak, smooth=smooth, normalised=weight_norm
        )
        self.reference = Marginals(info, reference_scale) if reference == "marginals" else None

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The potential u of every frame, (..., B, T), of frames (..., B, T, D)."""
        return self.potential_of_codes(self.codes(x), batch)

    def potential_of_codes(self, codes: Tensor, batch: Batch) -> Tensor:
        """The potential u of every frame, (..., B, T), of its codes (..., B, T, S)."""
        del batch
        return self._nats(codes)

    def _nats(self, codes: Tensor) -> Tensor:
        nats = self.network(codes)
        return nats if self.reference is None else nats + self.reference.of_codes(codes)

    @property
    def enumerable(self) -> bool:
        """Whether log Z is exact: by enumeration, or by integration of real numbers."""
        if self.info.kind == "real":
            return self.info.dim <= MOST_REALS
        sizes = self.codes.classes or (2,) * self.info.dim
        return math.fsum(map(math.log2, sizes)) <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        r"""The exact log Z of a row, in nats, in double precision, a scalar.

        .. math:: Z = \sum_x e^{u(x)} \quad\text{or}\quad \int e^{u(x)} dx

        An integral has no gradient.

        Raises:
            CompatibilityError: there are more than 20 bits or two real numbers.

        Warns:
            QuadratureWarning: the grid of real numbers is too small or too coarse.
        """
        if not self.enumerable:
            return super().log_normaliser()
        if self.info.kind == "real":
            return self._integral()
        parts = [self._nats(codes).double().logsumexp(0) for codes in self._states()]
        return torch.stack(parts).logsumexp(0)

    def _states(self) -> Iterator[Tensor]:
        """The codes of all rows of bits or symbols, in portions, (N, S)."""
        like = next(self.parameters())
        if self.codes.symbols is not None:
            return self.codes.symbols.states(like)
        return states_of_bits(like.new_zeros(self.info.dim))

    def _integral(self) -> Tensor:
        """Log Z of at most two real numbers."""
        like, dim = next(self.parameters()), self.info.dim

        def nats(codes: Tensor) -> Tensor:
            return self._nats(codes.to(like))[:, None]

        coarse, fine = (on_grid(nats, dim, cells).squeeze(0) for cells in (FINEST // 2, FINEST))
        _warn_of_grid(nats, dim, fine, float(fine - coarse))
        return fine + self.codes.log_volume

    def annealing(self) -> Annealing:
        """A path from the marginals of the training data to this field.

        At most 64 bits are drawn one after the other; other rows move by kernels that follow the
        gradient, see `KernelPath`.
        """
        if self.info.kind == "binary" and self.info.dim <= SWEPT_BITS:
            return BitwisePath(self._nats, self._rates().logit())
        return KernelPath(self._nats, self.info, self.codes, next(self.parameters()))


@torch.no_grad()
def _warn_of_grid(nats: LogDensity, dim: int, log_z: Tensor, change: float) -> None:
    """Warn where a grid is too coarse for a density, or where part of its mass lies beyond."""
    if abs(change) > TOLERANCE:
        warnings.warn(
            f"log Z changes by {abs(change):.2g} nats between grids of {FINEST // 2} and {FINEST} "
            "cells per variable: the density is too narrow for the grid",
            QuadratureWarning,
            stacklevel=4,
        )
    grid = points(dim, FINEST)
    edge = grid[(grid.abs() == EDGE).any(-1)]
    # Of a border that is one standard deviation wide, with the density of the edge.
    beyond = nats(edge).double().logsumexp((0, 1)) + log_volume(dim, FINEST)
    share = float((beyond - log_z).exp()) * FINEST / (2 * EDGE)
    if share > OUTSIDE:
        part = share / (1 + share)  # of the mass within and beyond
        warnings.warn(
            f"about {part:.1%} or more of the density lies beyond {EDGE:g} standard "
            "deviations of the data, and log Z does not include it: the potential does not fall "
            "there; set model.reference=marginals",
            QuadratureWarning,
            stacklevel=4,
        )
