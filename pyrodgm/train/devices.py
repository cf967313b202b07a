"""Devices and processes of training, by lightning-fabric."""

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
    """Raise early if the requested processes and devices are not available.

    Raises:
        UsageError: no CUDA or too few devices, more processes than sequences in a batch, or chunks
            with several processes.
    """
    if options.device == "cuda":
        found = torch.cuda.device_count()
        if found == 0:
            raise UsageError(
                "--device cuda: torch finds no CUDA device here; use --device auto or cpu"
            )
        if options.devices > found:
            raise UsageError(f"--devices {options.devices}: torch finds {found} CUDA devices here")
    processes = options.devices * options.num_nodes
    if options.longest is not None and processes > 1:
        raise UsageError(
            f"fit.chunk is {options.longest} with {processes} processes, whose batches have "
            "different numbers of chunks; use a single process"
        )
    if options.batch_size < processes:
        raise UsageError(
            f"a batch of {options.batch_size} is too small for {processes} processes; "
            f"give --batch-size {processes} or more"
        )


def launch(options: FitOptions) -> Fabric:
    """Launch the processes and devices of a run; all processes but the first start here.

    Raises:
        UsageError: as in `check_devices`.
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
        # gloo's threads need Python's lock to release the last tensors, and abort the process
        # (SIGABRT) if Python has ended by then. There is no way to wait for them.
        atexit.register(time.sleep, 0.5)
    return fabric


def _together() -> DDPStrategy:
    """Processes that share gradients; the training loop shares the averages of `Running`."""
    from lightning_fabric.strategies import DDPStrategy
    from torch.nn.parallel import DistributedDataParallel

    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"find_unused_parameters": True, buffers: False}
    return DDPStrategy(**options)


def is_first_process(options: FitOptions) -> bool:
    """Whether this process is the only one of a run, or the first; valid before `launch` too.

    Variables of a cluster number the processes of a job, which may be runs of their own.
    """
    from lightning_fabric.utilities.rank_zero import rank_zero_only  # slow to import

    alone = options.devices * options.num_nodes == 1
    return alone or getattr(rank_zero_only, "rank", 0) == 0
