"""The same code on CUDA; skipped where there is none."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine

from pyrodgm.batch import Batch
from pyrodgm.config import resolve
from pyrodgm.data.base import DataInfo
from pyrodgm.fitting import fit_config
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.sequences import fused
from pyrodgm.traces import log_probs
from tiny import tiny_values

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
CUDA = torch.device("cuda")
INFO = DataInfo("tiny", "binary", 4, (0.3,) * 4, 6.0, 6)


def test_the_same_path_scores_the_same() -> None:
    model = TSBN(INFO, hidden_dim=3, history=2, init_scale=1.0)
    batch = Batch.of(torch.rand(3, 6, 4).round())
    path = torch.rand(5, 3, 6, 3).round()
    totals = []
    for device in (torch.device("cpu"), CUDA):
        data = {"z": path.to(device)}
        with pyro.plate("particles", 5, dim=-3):
            program = poutine.condition(fused(model.to(device)), data=data)
            trace = poutine.trace(program).get_trace(batch.to(device))
        trace.compute_log_prob()
        totals.append(sum(trace.nodes[site]["log_prob"].cpu() for site in ("z", "x")))
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-4, atol=1e-4)


def test_draws_and_gradients_stay_on_the_device() -> None:
    model = TSBN(INFO, hidden_dim=3).to(CUDA)
    guide = RecurrentBernoulli(INFO, hidden_dim=3).to(CUDA)
    traced = log_probs(model, guide, Batch.of(torch.rand(3, 6, 4).round()).to(CUDA), particles=4)
    assert traced.log_w.device.type == traced.values["z"].device.type == "cuda"
    traced.direct.sum().backward()
    assert model.x_from_z.weight.grad.isfinite().all()


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_fit_runs_and_repeats_itself(tiny, tmp_path, precision: str) -> None:
    values = tiny_values(tiny, device="cuda", precision=precision)
    bounds = [
        fit_config(resolve(values), tmp_path / name).evaluate("test").nats_per_frame
        for name in ("first", "second")
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-3)
