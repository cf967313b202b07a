"""Dependence of observations, masks and the set of sites on the draws of a Pyro program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
from pyro import poutine
from pyro.infer.enum import get_importance_trace
from pyro.ops.provenance import get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrodgm.seeds import forked

_TO_PYTHON = frozenset(
    {"__bool__", "__contains__", "__float__", "__index__", "__int__", "item", "numpy", "tolist"}
    | {"allclose", "equal", "is_nonzero", "masked_select", "nonzero", "unique"}
)


@dataclass(frozen=True)
class Dependence:
    """Parts of a program that depend on a draw, and cannot be inputs of a baseline.

    Args:
        sites: model sites whose value or mask is.
        structure: whether the program turns a draw into a Python number, so that which sites it
            has, and which costs follow a draw, may depend on the draw.
    """

    sites: frozenset[str] = frozenset()
    structure: bool = False


def dependence(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Dependence:
    """Run both programs once with marked draws, by Pyro's provenance tracking.

    The run restores the state of the random number generators. If a program does not run on marked
    tensors, for instance because of a custom autograd function, everything counts as dependent.
    """
    try:
        with _apart(), _MarkDraws(), _Conversions() as conversions:
            trace, _ = get_importance_trace("flat", float("inf"), model, guide, args, kwargs)
    except Exception:  # noqa: BLE001, whatever a program raises on a subclass of tensors
        return Dependence(structure=True)
    sites: dict[str, Any] = dict(trace.nodes)
    marked = {
        name
        for name, site in sites.items()
        if site["type"] == "sample" and get_provenance([site["value"], site["mask"]])
    }
    return Dependence(frozenset(marked), conversions.found)


@contextmanager
def _apart() -> Iterator[None]:
    """Hide the run from outside handlers, restore generators, and disable converting checks."""
    with forked(0, "dependence"), pyro.validation_enabled(False), poutine.block():
        yield


class _MarkDraws(Messenger):
    """Marks every draw with its name as provenance, which results of operations inherit."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and not isinstance(msg["fn"], _Subsample):
            msg["value"] = track_provenance(msg["value"], frozenset({msg["name"]}))


class _Conversions(TorchFunctionMode):
    """Detects when a marked tensor leaves torch, after which its effects are not marked."""

    found = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Tensor | Any:
        if getattr(func, "__name__", "") in _TO_PYTHON and get_provenance(list(args)):
            self.found = True
        return func(*args, **(kwargs or {}))
