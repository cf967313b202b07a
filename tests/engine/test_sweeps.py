"""Paths drawn in sweeps over time are those of the loop, bit by bit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine import sweeps as engine_sweeps
from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.draws import draw
from pyrodgm.engine.sampler import SiteSampler
from pyrodgm.engine.sweeps import MOST_SWEEPS, Sweeps, sweeps_pay
from pyrodgm.networks.layers import SigmoidLayer
from variants import frames, pair

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from sweeps import main

J = 25  # no multiple of what a processor adds at once


def layer(lags: int, std: float, dtype: torch.dtype = torch.float32, dim: int = J) -> SigmoidLayer:
    torch.manual_seed(0)
    return SigmoidLayer(dim, lags * dim, 0, 0, history=lags, scale=std).to(dtype)


def drives(made: SigmoidLayer, size: int, length: int) -> Tensor:
    weight = made.bias.bias
    return torch.randn(size, length, weight.shape[1], dtype=weight.dtype) * 2 - 1


def sampler(leading: tuple[int, ...], drive: Tensor, given: Tensor | None = None) -> SiteSampler:
    torch.manual_seed(7)
    given = None if given is None else given.clone()
    return SiteSampler("z", torch.Size(leading), drive.shape[-2], given)


@torch.no_grad()
def looped(
    made: SigmoidLayer, drive: Tensor, leading: tuple[int, ...], given: Tensor | None = None
) -> Tensor:
    assert made.own is not None
    dim = made.own.out_features
    start = drive.new_zeros(*leading, made.own.in_features // dim, dim)
    return StochasticCell.path(made, drive, start, sampler(leading, drive, given))


@torch.no_grad()
def swept(
    made: SigmoidLayer, drive: Tensor, leading: tuple[int, ...], given: Tensor | None = None
) -> tuple[Tensor, Sweeps]:
    assert made.own is not None
    drawing = Sweeps(made, made.own, drive, sampler(leading, drive, given))
    return drawing.path(), drawing


@pytest.mark.parametrize("std", [0.0, 0.05, 0.15, 2.0])
@pytest.mark.parametrize("leading", [(1,), (3,), (2, 3)])
@pytest.mark.parametrize("lags", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_path_is_that_of_the_loop(
    dtype: torch.dtype, lags: int, leading: tuple[int, ...], std: float
) -> None:
    """Particles share a drive; the strongest weights are left to the loop."""
    made = layer(lags, std, dtype)
    for length in (1, 2, 5, 130):
        drive = drives(made, leading[-1], length)
        path, drawing = swept(made, drive, leading)
        expected = looped(made, drive, leading)
        assert path.is_contiguous() == expected.is_contiguous()
        assert torch.equal(path, expected)
    assert drawing.looped == 0 or std > 0.05
    assert drawing.looped > 0 or std < 2.0


@pytest.mark.parametrize("lags", [1, 4])
def test_many_paths_of_many_frames(lags: int) -> None:
    """With some frames that are too close to call, which the loop's step decides."""
    made = layer(lags, 0.1 / lags, dim=40)
    drive = drives(made, 8, 4000)
    path, drawing = swept(made, drive, (8,))
    assert torch.equal(path, looped(made, drive, (8,)))
    assert drawing.looped == 0
    assert drawing.checked > 0
    assert drawing.computed < 6 * len(drawing.sums)


class CloseCalls(SiteSampler):
    """Gives every bit its log-odds for noise, or the next number below, before it is drawn."""

    def __init__(self, leading: tuple[int, ...], drive: Tensor) -> None:
        self.noise_given = drive.new_zeros(drive.shape[-2], *leading, drive.shape[-1])
        super().__init__("z", torch.Size(leading), drive.shape[-2], self.noise_given.clone())

    def __call__(self, t: int, distribution: BernoulliVector) -> Tensor:
        logits = distribution.logits
        below = torch.nextafter(logits, logits - 1)
        self.noise_given[t] = torch.where(torch.rand_like(logits) < 0.5, below, logits)
        noise = self.noise(distribution)
        assert noise is not None
        noise[t] = self.noise_given[t]
        return super().__call__(t, distribution)


@pytest.mark.parametrize("lags", [1, 4])
@pytest.mark.parametrize("leading", [(1,), (3,)])
def test_close_calls_are_decided_as_the_loop_decides(leading: tuple[int, ...], lags: int) -> None:
    """Sums in another order lie on the other side of the noise in many cases."""
    made = layer(lags, 0.1)
    drive = drives(made, leading[0], 60)
    calls = CloseCalls(leading, drive)
    with torch.no_grad():
        expected = StochasticCell.path(made, drive, drive.new_zeros(*leading, lags, J), calls)
    assert torch.equal(looped(made, drive, leading, calls.noise_given), expected)
    path, drawing = swept(made, drive, leading, calls.noise_given)
    assert torch.equal(path, expected)
    assert drawing.checked + drawing.looped >= 59


def delay(dim: int) -> Tensor:
    """Every unit copies the one before it: a path needs as many sweeps as there are units."""
    return 100.0 * torch.eye(dim).roll(1, 0)


def sign_change(dim: int) -> Tensor:
    """A unit is what it was not: no frame of a path is right before the frame before it is."""
    return -100.0 * torch.eye(dim)


@pytest.mark.parametrize("weight", [delay, sign_change])
def test_paths_that_need_a_sweep_a_frame_are_left_to_the_loop(weight) -> None:
    made, length = layer(1, 1.0, dim=200), 1200
    assert made.own is not None
    with torch.no_grad():
        made.own.weight.copy_(weight(200))
    drive = torch.full((1, length, 200), -50.0 if weight is delay else 50.0)
    drive[:, 0] = torch.randn(200) * 100
    path, drawing = swept(made, drive, (1,))
    assert torch.equal(path, looped(made, drive, (1,)))
    assert drawing.sweeps <= MOST_SWEEPS
    assert 0 < drawing.looped < length
    assert drawing.computed < 10 * len(drawing.sums)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("variant", ["tsbn", "tsbn order 2", "dtsbn-s order 2", "dtsbn-d"])
def test_a_guide_draws_the_same_either_way(
    variant: str, particles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With feedback, several layers, and sequences of different lengths."""
    guide = pair(variant)[1]
    torch.manual_seed(1)
    x = frames("bernoulli", 4, 9)
    mask = torch.arange(9) < torch.tensor([9, 5, 1, 9])[:, None]
    batch = Batch(x * mask[..., None], mask, torch.arange(4))
    paths = []
    for least in (1, 1000):
        monkeypatch.setattr(engine_sweeps, "LEAST_FRAMES", least)
        torch.manual_seed(2)
        paths.append(draw(guide, batch, particles, keep_noise=True))
    for kind in ("values", "noise"):
        one, other = (getattr(path, kind) for path in paths)
        assert one.keys() == other.keys() == guide.latents.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_reduced_precision_and_short_paths_are_left_to_the_loop() -> None:
    made = layer(1, 0.1)
    assert made.own is not None
    drive = drives(made, 2, 300)
    assert sweeps_pay(made.own, drive, sampler((2,), drive))
    assert not sweeps_pay(made.own, drive[:, :100], sampler((2,), drive[:, :100]))
    assert not sweeps_pay(made.own, drive, sampler((64, 2), drive))
    assert not sweeps_pay(made.own, drive.bfloat16(), sampler((2,), drive))
    noise = torch.zeros(300, 2, J, dtype=torch.float64)
    assert not sweeps_pay(made.own, drive, sampler((2,), drive, noise))
    assert not sweeps_pay(made.own.double(), drive, sampler((2,), drive))
    made.own.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert not sweeps_pay(made.own, drive, sampler((2,), drive))
    torch.set_float32_matmul_precision("medium")
    try:
        assert not sweeps_pay(made.own, drive, sampler((2,), drive))
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_benchmark_has_a_row_for_every_size(tiny: Path) -> None:
    given = f"--data {tiny} --steps 2 --units 4 --rounds 2 --sizes 1,2 --lengths 5,9".split()
    result = CliRunner().invoke(main, given, catch_exceptions=False)
    rows = [line.split("|")[1:3] for line in result.output.splitlines() if line.startswith("| ")]
    assert [[int(cell) for cell in row] for row in rows[1:]] == [[1, 5], [2, 5], [1, 9], [2, 9]]
