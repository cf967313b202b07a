"""Pyro's own evidence lower bounds, by name, on the unrolled form of model and guide.

Our objectives are tested against them. They are slow on long sequences: TraceGraph_ELBO takes time
quadratic in T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, final

import pyro
import torch
from pydantic import Field
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.mlp import tanh_network
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.single import as_networks_see, size_networks_see, unrolled_pair
from pyrodgm.objectives.state import OwnState
from pyrodgm.objectives.targets import Targets

HIDDEN, DECAY = 100, 0.8  # defaults of baselines

Baseline = Literal["none", "decaying-average", "network"]


@final
class TraceELBO(Objective):
    """Pyro's Trace_ELBO: pathwise where possible, plain score gradient elsewhere.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 10-13"),)
    needs: ClassVar[Needs] = Needs()

    def __init__(
        self, model: Model, guide: Guide, *, particles: Annotated[int, Field(ge=1)] = 1
    ) -> None:
        super().__init__(model, guide)
        self._elbo = Trace_ELBO(num_particles=particles)

    def loss(self, batch: Batch) -> Loss:
        """Pyro's differentiable loss, per sequence."""
        model, guide = unrolled_pair(self)
        surrogate = self._elbo.differentiable_loss(model, guide, batch) / batch.size
        report = {"elbo_nats_per_frame": -surrogate.detach() * batch.size / batch.num_frames}
        return Loss(surrogate, report)


@final
class TraceGraphELBO(Objective):
    """Pyro's TraceGraph_ELBO: the score gradient with only downstream costs, and baselines.

    For draws that carry no gradient; for others it is `TraceELBO`.

    Args:
        model: the model p.
        guide: the guide q.
        baseline: "network" (a tanh network of the frame and of the number of remaining frames),
            "decaying-average" (one running average per frame and row of the batch), or "none".
        baseline_dim: hidden units of the network, 100 if not given.
        decay: weight of the old value in the running averages, 0.8 if not given.
        particles: number of draws K.

    Raises:
        UsageError: an option of another baseline.

    Deviation from Pyro: its running averages are in the global parameter store and raise an error
    when the shape of the batch changes; here they are part of the objective and restart.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 10-11"),)
    needs: ClassVar[Needs] = Needs(reparameterised=False)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        baseline: Baseline = "network",
        baseline_dim: Annotated[int, Field(ge=1)] | None = None,
        decay: Annotated[float, Field(ge=0, lt=1)] | None = None,
        particles: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__(model, guide)
        for name, value, owner in (
            ("baseline_dim", baseline_dim, "network"),
            ("decay", decay, "decaying-average"),
        ):
            if value is not None and baseline != owner:
                raise UsageError(f"{name} is for baseline '{owner}', but this one is '{baseline}'")
        self.baseline: Baseline = baseline
        self.decay = DECAY if decay is None else decay
        dim = size_networks_see(model)
        width = baseline_dim or HIDDEN
        self.network = _FrameBaseline(dim, width) if baseline == "network" else None
        self._elbo = _TraceGraphSurrogate(num_particles=particles)
        self.averages = RowAverages()

    def loss(self, batch: Batch) -> Loss:
        """Pyro's surrogate with its baseline loss, per sequence."""
        model, guide = unrolled_pair(self)
        if self.baseline != "none":
            options: Any = partial(self._baseline_options, batch=batch)
            guide = poutine.infer_config(guide, options)
        averages = self.averages.of(batch.size)
        store = pyro.get_param_store()
        with store.scope():
            for name, value in averages.items():
                store[name] = value
            elbo, surrogate = self._elbo.elbo_and_surrogate(model, guide, batch)
            averages.update({name: value.detach() for name, value in store.items()})
        report = {"elbo_nats_per_frame": elbo.detach() / batch.num_frames}
        return Loss(surrogate / batch.size, report)

    def _baseline_options(self, site: dict[str, Any], batch: Batch) -> dict[str, Any]:
        """The options of a guide site from which Pyro builds its baseline."""
        if self.network is None:
            options = {"use_decaying_avg_baseline": True, "baseline_beta": self.decay}
            return {"baseline": options}
        number = site["name"].rpartition("_")[2]
        frame = int(number) - 1 if number.isdecimal() else 0
        left = batch.mask[:, frame:].sum(1, keepdim=True).to(batch.x.dtype)
        seen = as_networks_see(self.model, batch.x[:, frame])
        frame_input = torch.cat([seen, left], -1)
        if batch.size == 1:  # Pyro removes the dimension of a plate of size one
            frame_input = frame_input[0]
        return {"baseline": {"nn_baseline": self.network, "nn_baseline_input": frame_input}}


class RowAverages(OwnState):
    """Running averages for each row of a batch; they restart with batches of another size."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._values = 0, {}

    def of(self, size: int) -> dict[str, Tensor]:
        """The averages by name, for batches of a size; the caller updates them."""
        if size != self._size:
            self._size, self._values = size, {}
        return self._values

    def own_state(self) -> dict[str, Any]:
        """The averages, and the size of batches."""
        return {"size": self._size, "values": {n: x.cpu() for n, x in self._values.items()}}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the averages of a checkpoint."""
        self._size, self._values = state["size"], dict(state["values"])

    def move(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of device or type to every average."""
        self._values = {name: change(value) for name, value in self._values.items()}


class _TraceGraphSurrogate(TraceGraph_ELBO):
    """Pyro's class differentiates its surrogate immediately; this one returns it."""

    def elbo_and_surrogate(self, model: Any, guide: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        pair: Any = self._loss_and_surrogate_loss(model, guide, (batch,), {})
        return pair


class _FrameBaseline(nn.Module):
    r"""Predicts the remaining cost from a frame and the number of remaining frames.

    .. math:: B(x_t, n_t) = n_t \\, (a^\top \tanh(A x_t) + c)
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.per_frame = tanh_network(dim, hidden_dim)

    def forward(self, frame: Tensor) -> Tensor:
        return frame[..., -1] * self.per_frame(frame[..., :-1]).squeeze(-1)
