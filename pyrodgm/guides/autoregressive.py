"""Recognition networks of rows whose bits depend on each other."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, cast, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.rows import RowRecognition
from pyrodgm.networks.autoregressive import (
    AutoregressiveLayer,
    BitsKind,
    LinearFamily,
    NADEFamily,
)
from pyrodgm.networks.conditional import OfNumbers

NADE_SCALE = 0.05  # of weights; a NADE learns nothing about dependence from weights near zero


@final
class AutoregressiveBernoulli(RowRecognition):
    r"""Layers of bits, from the observation upward, each bit given those before it in its layer.

    .. math:: q(z^l \mid z^{l-1}) = \prod_j q(z^l_j \mid z^l_{<j}, z^{l-1}), \qquad z^0 = x

    With conditions u, if any, the log-odds of a bit are one of

    .. math::
        \text{darn:} \quad & d^l_j + (U^l z^{l-1})_j + (V^l u)_j
            + \textstyle\sum_{i<j} A^l_{ji} z^l_i \\
        \text{nade:} \quad & d^l_j + (U^l z^{l-1})_j + (V^l u)_j + R^l_j \cdot
            \sigma\big(e^l + S^l z^{l-1} + T^l u + \textstyle\sum_{i<j} z^l_i Q^l_i\big)

    Log-probabilities are computed for all bits at once; a draw takes one step per bit.

    Args:
        model: the model p; its binary sites, the lowest first, are the layers.
        kind: "darn", linear in the bits before, or "nade", through hidden units.
        nade_dim: hidden units of every layer of the kind "nade", 100 if not given.
        init_scale: standard deviation of the initial weights; those between the bits and the hidden
            units of a NADE have 0.05.

    Raises:
        UsageError: `nade_dim` for another kind.

    Reference: Gregor, Danihelka, Mnih, Blundell and Wierstra, Deep autoregressive networks, 2014;
    Mnih and Gregor, Neural variational inference and learning in belief networks, 2014, section
    2.5; for the kind "nade", Larochelle and Murray, The neural autoregressive distribution
    estimator, 2011.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="binary", sequential=False, causal=True, independent_bits=False
    )
    chained = True

    def __init__(
        self,
        model: Target,
        *,
        kind: BitsKind = "darn",
        nade_dim: Annotated[int, Field(ge=1)] | None = None,
        init_scale: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__(model)
        if nade_dim is not None and kind != "nade":
            raise UsageError(f"nade_dim is for kind 'nade', but the kind is '{kind}'")
        given, dims = self.conditions.dim, sizes(self.latents)
        self.posteriors = nn.ModuleDict()
        for name, (below, own) in zip(
            dims, pairwise([self.inputs.dim, *dims.values()]), strict=True
        ):
            family = (
                NADEFamily(own, nade_dim or 100, NADE_SCALE)
                if kind == "nade"
                else LinearFamily(own, init_scale)
            )
            self.posteriors[name] = AutoregressiveLayer(family, below, given, init_scale)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row, layer after layer."""
        del t
        assert encoded is not None
        below, given = encoded.split([self.inputs.dim, self.conditions.dim], -1)
        for name, posterior in self.posteriors.items():
            layer = cast("AutoregressiveLayer", posterior)
            drive = layer.numbers(below, given)
            below = past.chain(draw, name, drive, OfNumbers(layer.family))
