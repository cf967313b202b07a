"""The compared variants of the family, by the library and by hand, on the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from floor import Bits, Counts, HandWritten, HandWrittenTSBN, Reals
from floor_chains import HandWrittenDMM, HandWrittenSRNN
from floor_deterministic import HandWrittenDTSBND
from floor_vrnn import HandWrittenVRNN
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Kind
from pyrodgm.guides import GUIDES
from pyrodgm.models import MODELS
from pyrodgm.objectives import OBJECTIVES, Objective

RATE, STD = 0.3, 0.5  # of the data
# Of models with continuous latents, as far as they are not those of a guide.
SIZES: dict[str, dict[str, Any]] = {
    "vrnn": {"latent_dim": 32, "hidden_dim": 128, "feature_dim": 64},
    "srnn": {"latent_dim": 32, "hidden_dim": 128, "feature_dim": 64},
    "dmm": {"latent_dim": 32, "transition_dim": 200, "hidden_dim": (100, 100)},
}
LAYER_DIM = 128  # units of the guides' recurrences


@dataclass(frozen=True)
class Variant:
    """One row of the benchmark.

    Args:
        model: registered model; its guide is the one it is fitted with unless told otherwise.
        order: lags n.
        hidden_dim: units J of every layer, rectified ones included.
        kind: of the data.
        dim, size, length: D, B and T of the data.
    """

    model: str
    order: int = 1
    hidden_dim: int = 100
    kind: Kind = "binary"
    dim: int = 88
    size: int = 32
    length: int = 100

    @property
    def layers(self) -> int:
        """Layers of latents."""
        return 2 if self.model == "dtsbn-s" else 1

    @property
    def estimator(self) -> tuple[str, dict[str, Any]]:
        """The objective of the floor, and its options."""
        return ("elbo", {}) if self.model in SIZES else ("nvil", {"signal": "future"})

    @property
    def sizes(self) -> str:
        """For a table."""
        latents = SIZES.get(self.model, {}).get("latent_dim", self.hidden_dim)
        return f"B={self.size}, T={self.length}, D={self.dim}, J={latents}"

    def info(self) -> DataInfo:
        """Facts about the data."""
        mean, std = (RATE,) * self.dim, (STD,) * self.dim
        return DataInfo("bench", self.kind, self.dim, mean, self.length, self.length, std)

    def batch(self) -> Batch:
        """Coin tosses, counts or real numbers."""
        torch.manual_seed(0)
        rates = torch.full((self.size, self.length, self.dim), RATE)
        draws: dict[Kind, Callable[[Tensor], Tensor]] = {
            "binary": torch.bernoulli,
            "count": torch.poisson,
            "real": lambda rates: rates + STD * torch.randn_like(rates),
        }
        return Batch.of(draws[self.kind](rates))

    def library(self, objective: str = "nvil", **options: Any) -> Objective:
        """One of the library's objectives, with the model and its guide."""
        if self.model in SIZES:
            model = MODELS[self.model](self.info(), **SIZES[self.model])
            guide = GUIDES[model.companions.guide](model)
            return OBJECTIVES[objective](model, guide, **options)
        info, units = self.info(), {"hidden_dim": self.hidden_dim}
        if self.layers > 1:
            units = {"hidden_dim": (self.hidden_dim,) * self.layers}
        widths = {"layer_dim": self.hidden_dim} if self.model == "dtsbn-d" else {}
        units |= widths
        model_class = MODELS[self.model]
        guide_class = GUIDES[model_class.companions.guide]
        model = model_class(info, history=self.order, **units)
        guide = guide_class(model, **widths)
        return OBJECTIVES[objective](model, guide, **options)

    def floor(self) -> HandWritten | nn.Module:
        """The step written by hand."""
        if self.model in SIZES:
            return self._continuous_floor(SIZES[self.model])
        frame = {
            "binary": lambda: Bits(self.dim),
            "count": lambda: Counts(self.dim),
            "real": lambda: Reals(torch.full((self.dim,), RATE), torch.full((self.dim,), STD)),
        }[self.kind]()
        if self.model == "dtsbn-d":
            return HandWrittenDTSBND(frame, self.hidden_dim, self.hidden_dim, self.order)
        return HandWrittenTSBN(frame, (self.hidden_dim,) * self.layers, self.order)

    def _continuous_floor(self, sizes: dict[str, Any]) -> nn.Module:
        """The step of a model with continuous latents."""
        if self.model == "vrnn":
            return HandWrittenVRNN(self.dim, **sizes)
        if self.model == "srnn":
            return HandWrittenSRNN(self.dim, **sizes, layer_dim=LAYER_DIM)
        widths = {"hidden_dim": sizes["hidden_dim"][0], "layer_dim": LAYER_DIM}
        return HandWrittenDMM(self.dim, **{**sizes, **widths})


VARIANTS = {
    "tsbn": Variant("tsbn"),
    "tsbn, order 4": Variant("tsbn", order=4),
    "tsbn, order 4, D = 900": Variant("tsbn", order=4, dim=900),
    "dtsbn-s, 100-100": Variant("dtsbn-s"),
    "dtsbn-s, 100-100, order 2": Variant("dtsbn-s", order=2),
    "dtsbn-d, 100-100, order 2": Variant("dtsbn-d", order=2),
    "tsbn, Gaussian": Variant("tsbn", kind="real", dim=49),
    "vrnn": Variant("vrnn"),
    "srnn": Variant("srnn"),
    "dmm": Variant("dmm"),
    "tsbn, multinomial": Variant("tsbn", kind="count", hidden_dim=25, dim=2000, size=1, length=224),
}
