"""Detects operations after which the host waits for a GPU, on a machine without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
READING = {
    aten._local_scalar_dense,  # bool, float, int, item and tolist
    aten.equal,
    aten.is_nonzero,
    aten.lift_fresh,  # torch.tensor(number, device=...) copies; take torch.full and fill_
    aten.masked_select,
    aten.nonzero,
    aten.unique_dim,
    aten._unique2,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class NumberRead(AssertionError):
    """A number was read from the device."""


class NoReads(TorchDispatchMode):
    """Within it, whatever reads a number from a tensor raises `NumberRead`.

    On a GPU these operations wait until all that was enqueued before them is done.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        of_mask = packet in INDEXING and any(
            torch.is_tensor(each) and each.dtype in (torch.bool, torch.uint8)
            for each in tree_leaves(args[1])
        )
        sized = packet is aten.repeat_interleave and not (kwargs or {}).get("output_size")
        if packet in READING or of_mask or sized:
            raise NumberRead(f"{packet} reads or copies numbers; see the list in {__name__}")
        return func(*args, **(kwargs or {}))
