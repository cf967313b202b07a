"""Recurrences: frame by frame, all frames at once, and torch's own cells are the same thing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pyrodgm.engine.cells import Cell, scan
from pyrodgm.engine.past import Past, PathStates, ShiftedPast
from pyrodgm.lags import lagged
from pyrodgm.networks.cells import GRUCell, LSTMCell, ReLUCell, make_cell
from variants import randomised

E, H, T = 3, 3, 6
CELLS = {
    "gru": lambda: GRUCell(E, H),
    "lstm": lambda: LSTMCell(E, H),
    "driven relu": lambda: make_cell("relu", E, H),
    "relu": lambda: ReLUCell(H),
    "relu order 3": lambda: ReLUCell(H, history=3),
    "relu longer than the data": lambda: ReLUCell(H, history=8),
}


def cell_of(name: str) -> Cell:
    return randomised(CELLS[name](), std=0.6)


def drive_of(*leading: int) -> Tensor:
    return torch.randn(*leading, T, E, dtype=torch.float64)


@pytest.mark.parametrize("leading", [(), (4,), (2, 4)])
@pytest.mark.parametrize("name", CELLS)
def test_frame_by_frame_equals_all_frames(name: str, leading: tuple[int, ...]) -> None:
    cell, drive = cell_of(name), drive_of(*leading)
    past, states = Past({}), []
    outputs = []
    for now in drive.unbind(-2):
        outputs.append(past.carry("h", now, cell))
        states.append(past.states["h"])
    outputs, states = torch.stack(outputs, -2), torch.stack(states, -2)
    assert outputs.shape == (*leading, T, H)
    assert states.shape == (*leading, T, cell.state_dim)
    torch.testing.assert_close(cell.outputs(drive), outputs)
    torch.testing.assert_close(cell.states(drive), states)
    shifted, whole = ShiftedPast({}, 1), PathStates({}, 1)
    torch.testing.assert_close(shifted.carry("h", drive, cell), outputs)
    torch.testing.assert_close(whole.carry("h", drive, cell), outputs)
    torch.testing.assert_close(whole.states["h"], states)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_both_agree(name: str) -> None:
    cell, drive = cell_of(name), drive_of(4).requires_grad_()
    weight = torch.randn(4, T, cell.state_dim).double()
    inputs = [drive, *cell.parameters()]
    pairs = [(cell.states(drive), scan(cell, drive))]
    pairs.append((cell.outputs(drive), pairs[0][1][..., :H]))
    for ours, slow in pairs:
        kept = weight[..., : ours.shape[-1]]
        for mine, other in zip(
            torch.autograd.grad((ours * kept).sum(), inputs, retain_graph=True),
            torch.autograd.grad((slow * kept).sum(), inputs, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", ["relu", "relu order 3"])
def test_the_written_gradient_is_that_of_finite_differences(name: str) -> None:
    cell, drive = cell_of(name), drive_of(2).requires_grad_()
    assert torch.autograd.gradcheck(cell.outputs, drive)


@pytest.mark.parametrize("name", CELLS)
def test_values_may_leave_the_path_in_one_frame(name: str) -> None:
    """K drives of each frame, from the states that a single path had before it."""
    cell, path, drives = cell_of(name), drive_of(4), drive_of(5, 4)
    before = lagged(cell.states(path), 1)
    expected = torch.stack(
        [torch.stack([cell(d, s) for d, s in zip(k, before, strict=True)]) for k in drives]
    )
    past = ShiftedPast({}, 1, {"h": cell.states(path)})
    torch.testing.assert_close(past.carry("h", drives, cell), expected[..., :H])


@pytest.mark.parametrize(("name", "theirs"), [("gru", nn.GRUCell), ("lstm", nn.LSTMCell)])
def test_one_frame_is_that_of_torch(name: str, theirs: type[nn.Module]) -> None:
    cell, other = cell_of(name), theirs(E, H).double()
    for ours, parameter in zip(cell.parameters(), other.parameters(), strict=True):
        parameter.data.copy_(ours)
    drive, state = torch.randn(4, E).double(), torch.randn(4, cell.state_dim).double()
    if name == "gru":
        expected = other(drive, state)
    else:
        expected = torch.cat(other(drive, state.chunk(2, -1)), -1)
    torch.testing.assert_close(cell(drive, state), expected)


def test_rectified_units_follow_their_formula() -> None:
    cell = ReLUCell(1, history=2)
    with torch.no_grad():
        cell.recurrent.weight.copy_(torch.tensor([[0.5, -2.0]]))
    h = cell.outputs(torch.tensor([[1.0], [1.0], [1.0], [1.0]]))[:, 0].tolist()
    assert h == [1, 1.5, 0, 0]  # 1 + 0.75 - 2 < 0 and 1 + 0 - 3 < 0
