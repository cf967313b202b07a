"""Where does training run? The devices and processes, which lightning-fabric owns."""

from __future__ import annotations

import atexit
import logging
import time
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch

from pyrodgm.errors import UsageError
from pyrodgm.setup.options import FitOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy


def check_devices(options: FitOptions) -> None:
    """Stop before anything is built where the processes and devices asked for cannot be had.

    Raises:
        UsageError: no CUDA or too few devices, or more processes than sequences in a batch.
    """
    if options.device == "cuda":
        found = torch.cuda.device_count()
        if found == 0:
            raise UsageError(
                "--device cuda: torch sees no CUDA device here; use --device auto or cpu"
            )
        if options.devices > found:
            raise UsageError(f"--devices {options.devices}: torch sees {found} CUDA devices here")
    processes = options.devices * options.num_nodes
    if options.batch_size < processes:
        raise UsageError(
            f"a batch of {options.batch_size} leaves some of {processes} processes without "
            f"sequences; give --batch-size {processes} or more"
        )


def launch(options: FitOptions) -> Fabric:
    """The processes and devices of a run; all processes but the first start here.

    Raises:
        UsageError: what `check_devices` finds.
    """
    from lightning_fabric import Fabric  # slow to import

    check_devices(options)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    precision: Any = {"32": "32-true", "bf16": "bf16-mixed"}[options.precision]
    accelerator = options.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.device_count() >= options.devices else "cpu"
    several = options.devices * options.num_nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=precision,
        strategy=_together() if several else "auto",
    )
    fabric.launch()
    if several:
        # gloo's threads need Python's lock to let go of the last tensors, and end the process with
        # SIGABRT where Python is gone by then. Nothing tells when they are done.
        atexit.register(time.sleep, 0.5)
    return fabric


def _together() -> DDPStrategy:
    """Processes that share gradients; the training loop shares the averages of `Running` itself."""
    from lightning_fabric.strategies import DDPStrategy
    from torch.nn.parallel import DistributedDataParallel

    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"find_unused_parameters": True, buffers: False}
    return DDPStrategy(**options)


def is_first_process() -> bool:
    """Whether this is the process that a person started, before as well as after `launch`."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only  # slow to import

    return getattr(rank_zero_only, "rank", 0) == 0
