"""Rows above bits that depend on each other: every value of them, by the formulas."""

from __future__ import annotations

from typing import Any

import torch
from rows import EnumeratedOnRow
from torch import Tensor, nn

from oracles import all_paths, layered_log_p, layered_log_q, linear_bits, nade
from pyrodgm.engine.sites import sizes
from pyrodgm.guides import AutoregressiveBernoulli, LayeredBernoulli
from pyrodgm.models import DARN, SBN
from variants import INFOS, D, randomised

LAYERS = (3, 2)


def bits_pair(model: str, guide: str, hidden_dim: Any = LAYERS, **facts: Any) -> tuple[Any, Any]:
    """A model "darn" or "sbn", and a guide "darn", "nade" or, of independent bits, "bernoulli"."""
    from dataclasses import replace

    info = replace(INFOS["nade"], **facts)
    p = (DARN if model == "darn" else SBN)(info, hidden_dim=hidden_dim)
    if guide == "bernoulli":
        return randomised(p), randomised(LayeredBernoulli(p))
    size = {"nade_dim": 2} if guide == "nade" else {}
    return randomised(p), randomised(AutoregressiveBernoulli(p, kind=guide, **size))


def layer_score(layer: nn.Module, below: Tensor | None, own: Tensor, given: Any = None) -> Tensor:
    """The log-probability of the bits of a layer given a neighbouring one, bit by bit."""
    numbers = layer.bias.expand(*own.shape[:-1], -1)
    if below is not None:
        numbers = numbers + below @ layer.now.weight.T
    if given is not None:
        numbers = numbers + given @ layer.given.weight.T
    family = layer.family
    if hasattr(family, "weight_in"):
        return nade(family.weight_in, family.weight_out)(numbers, own)
    return linear_bits(family.weight)(numbers, own)


class EnumeratedBits(EnumeratedOnRow):
    """A pair of `bits_pair` on a row x (D,), over all latents; conditions (U,), if any."""

    def __init__(self, model: Any, guide: Any, x: Tensor, given: Tensor | None = None) -> None:
        self.model, self.guide = model, guide
        dims = list(sizes(model.latents).values())
        parts = all_paths(1, sum(dims)).split(dims, -1)
        self.paths = dict(zip(model.latents, parts, strict=True))
        x, layers = x.reshape(1, D), [part[:, 0] for part in parts]
        if isinstance(model, SBN):
            self.log_p = layered_log_p(model, x, self.paths)
        else:
            self.log_p = self._of_model(x, layers, given)[:, None]
        if isinstance(guide, LayeredBernoulli):
            self.log_q = layered_log_q(guide, x, self.paths)
        else:
            self.log_q = self._of_guide(x, layers, given)[:, None]

    def _of_model(self, x: Tensor, layers: list[Tensor], given: Tensor | None) -> Tensor:
        model, total = self.model, 0.0
        for layer, own, above in zip(model.layers, layers, [*layers[1:], None], strict=True):
            total = total + layer_score(layer, above, own, given)
        numbers = model.x_bias + layers[0] @ model.x_from_z.weight.T
        if given is not None:
            numbers = numbers + given @ model.x_from_given.weight.T
        return total + linear_bits(model.emission.weight)(numbers, x.expand(len(numbers), -1))

    def _of_guide(self, x: Tensor, layers: list[Tensor], given: Tensor | None) -> Tensor:
        below, total = x.expand(len(layers[0]), -1), 0.0
        for layer, own in zip(self.guide.posteriors.values(), layers, strict=True):
            total = total + layer_score(layer, below, own, given)
            below = own
        return total


def every_row() -> Tensor:
    """All rows of bits, (2^D, D)."""
    return all_paths(1, D)[:, 0].to(torch.float64)
