"""Recurrences over the observations of a batch, which go on where the chunk before it ended."""

from __future__ import annotations

from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.cells import Cell


def forward_outputs(name: str, cell: Cell, inputs: Tensor, batch: Batch) -> Tensor:
    r"""The outputs of a recurrence over every sequence, (B, T, H).

    .. math:: b_t = f(b_{t-1}, v_t), \qquad b_0 = 0

    Where a batch holds a later chunk of its sequences, :math:`b_0` is the state at the end of the
    chunk before, without gradient.

    Args:
        name: of the recurrence, other than those of a model's or a guide's other states.
        cell: the recurrence f.
        inputs: v, (B, T, E).
        batch: that the inputs belong to.
    """
    if batch.ends is not None:
        return forward_states(name, cell, inputs, batch)[..., : cell.dim]
    start = batch.before.states.get(name)
    return cell.outputs(inputs) if start is None else cell.outputs(inputs, start)


def forward_states(name: str, cell: Cell, inputs: Tensor, batch: Batch) -> Tensor:
    """The states of a recurrence over every sequence, (B, T, S); see `forward_outputs`."""
    start = batch.before.states.get(name)
    states = cell.states(inputs) if start is None else cell.states(inputs, start)
    if batch.ends is not None:
        batch.ends.states[name] = states[:, -1].clone()
    return states
