"""Contrastive divergence: short chains that start at the data."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.contrastive import Contrastive
from pyrodgm.objectives.moves import KernelName, Moves, Size
from pyrodgm.objectives.state import RowCache
from pyrodgm.objectives.targets import Targets


@final
class CD(Contrastive):
    r"""Contrastive divergence of k steps: each frame of the batch starts a chain of k moves.

    .. math::
        \mathrm{E}_{x \sim \text{data}}
        \big[\nabla \phi(x) - \mathrm{E}_{T^k(\tilde x \mid x)} \nabla \phi(\tilde x)\big]

    where T is one move, such as a Gibbs sweep of the model. For a model of sequences, chains are
    those of every frame given the frames of the data before it, and gradients go back through time.

    This is a biased gradient of the log-likelihood, less so the larger k. It is zero where the
    model is the distribution of the data, because the moves leave that unchanged, if they are
    exact.

    With `persistent`, chains start at the data only once: every frame of the training data has a
    chain that continues whenever its frame is trained on, given the frames of the data before it.
    The update is the gradient of the log-likelihood if the chains are in equilibrium. This is the
    form of `PCD` for models of sequences, each of whose frames has a distribution of its own.

    Args:
        model: a model with an unnormalised density.
        guide: the guide "none".
        kernel: how chains move, as in `PCD`.
        steps: moves k; by default 5 for "gibbs" of `rtrbm` and `trbm`, 1 for that of other models
            and for "sghmc", and otherwise 10.
        step_size: of moves that have one, as in `PCD`.
        noise: of "sgld" and "sghmc", as in `PCD`.
        persistent: whether the chain of a frame continues in the next epoch; they take the memory
            of a copy of the training data.

    Raises:
        CompatibilityError: the kernel does not move such data.
        UsageError: a size that the kernel does not have.

    Reference: Hinton, Training products of experts by minimizing contrastive divergence, 2002; for
    sequences Sutskever, Hinton and Taylor, The recurrent temporal restricted Boltzmann machine,
    2008.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("near ML: k sweeps from data", "none", "Hinton 2002, eq. 5-6"),
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        kernel: KernelName = "auto",
        steps: Annotated[int, Field(ge=1)] | None = None,
        step_size: Size | None = None,
        noise: Annotated[float, Field(ge=0)] | None = None,
        persistent: bool = False,
    ) -> None:
        super().__init__(model, guide)
        sizes = {"steps": steps, "step_size": step_size, "noise": noise}
        self.moves = Moves.of(self.energy, kernel, **sizes)
        dtype = torch.uint8 if model.info.kind == "binary" else torch.float32
        self.cache = RowCache(model.info.dim, dtype=dtype, in_chunks=True) if persistent else None

    def begin(self, training: Sequences) -> None:
        """Start persistent chains at the frames of the training data."""
        if self.cache is not None:
            frames = torch.arange(training.num_frames)
            self.cache.begin(training, training.observations(frames))

    def starts(self, batch: Batch) -> tuple[Tensor, Batch]:
        """The frames of the batch, or the states of their chains."""
        if self.cache is None or not self.training:
            return batch.x, batch
        return self.cache.read(batch).to(batch.x), batch

    def keep(self, states: Tensor, batch: Batch) -> None:
        """Persistent chains continue from these states."""
        if self.cache is not None:
            self.cache.write(batch, states)
