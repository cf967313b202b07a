"""The same code on CUDA; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from failing import BadAt
from pyro import poutine

from pyrodgm.batch import Batch
from pyrodgm.data import ragged
from pyrodgm.data.base import DataInfo
from pyrodgm.engine import sweeps
from pyrodgm.engine.draws import draw
from pyrodgm.engine.programs import fused
from pyrodgm.engine.terms import terms
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.build import build_data, build_objective
from pyrodgm.setup.config import resolve
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training
from pyrodgm.train.nonfinite import NonFiniteLoss
from tiny import TINY_FIT, tiny_values
from tiny import ragged as ragged_arrays

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
        with pyro.get_param_store().scope(), pyro.plate("particles", 5, dim=-2):
            program = poutine.condition(fused(model.to(device)), data=data)
            trace = poutine.trace(program).get_trace(batch.to(device))
        trace.compute_log_prob()
        totals.append(sum(trace.nodes[site]["log_prob"].cpu() for site in ("z", "x")))
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-4, atol=1e-4)


def test_draws_and_gradients_stay_on_the_device() -> None:
    model = TSBN(INFO, hidden_dim=3).to(CUDA)
    guide = RecurrentBernoulli(model).to(CUDA)
    traced = terms(model, guide, Batch.of(torch.rand(3, 6, 4).round()).to(CUDA), particles=4)
    assert traced.log_w.device.type == traced.values["z"].device.type == "cuda"
    traced.direct.sum().backward()
    assert model.x_from_z.weight.grad.isfinite().all()


@pytest.mark.parametrize("length", [100, 400, 1000, 4000])
@pytest.mark.parametrize("lags", [1, 4])
def test_sweeps_draw_what_the_loop_draws(
    lags: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, for two particles of eight sequences."""
    model = TSBN(INFO, hidden_dim=50, history=lags)
    guide = RecurrentBernoulli(model, init_scale=0.15 / lags).to(CUDA)
    batch = Batch.of(torch.rand(8, length, 4).round()).to(CUDA)
    paths = []
    for least in (1, length + 1):
        monkeypatch.setattr(sweeps, "LEAST_FRAMES", least)
        torch.manual_seed(0)
        paths.append(draw(guide, batch, 2).values["z"])
    assert torch.equal(*paths)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_fit_runs_and_repeats_itself(tiny, tmp_path, precision: str) -> None:
    values = tiny_values(tiny, device="cuda", precision=precision)
    bounds = [
        fit_config(resolve(values), tmp_path / name).evaluate("test").nats_per_frame
        for name in ("first", "second")
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-3)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize(
    ("model", "objective"),
    [("tsbn", "rloo-local"), ("vrnn", "elbo"), ("rbm", "pcd"), ("sbn", "jsa"), ("tsbn", "fivo")],
)
def test_no_step_waits_for_the_device(save_data, tmp_path, model: str, objective: str) -> None:
    """All but what `tests/train/test_reads.py` names, and sweeps over long paths."""
    arrays = ragged_arrays()
    if model in ("rbm", "sbn"):
        arrays |= {name: np.ones(arrays[name].sum(), int) for name in arrays if "lengths" in name}
    values = {
        "model": {"name": model},
        "objective": {"name": objective},
        "data": {"source": str(save_data(**arrays))},
        "fit": {**TINY_FIT, "device": "cuda"},
    }
    config = resolve(values)
    splits = build_data(config)
    made = build_objective(config, splits.info)
    training = Training(made, splits, config.fit, launch(config.fit))
    made.train()
    training._step()  # allocates what later steps use again
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(4):
            training._step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    training.settle()


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_step_that_is_not_finite_moves_nothing(tiny, optimizer: str, step: int) -> None:
    splits, found = ragged.read(tiny), []
    for deferred in (False, True):
        options = FitOptions(steps=6, batch_size=8, device="cuda", optimizer=optimizer)
        made = BadAt(step, splits)
        training = Training(made, splits, options, launch(options), deferred=deferred)
        with pytest.raises(NonFiniteLoss, match=f"step {step}: ") as caught:
            list(training.steps())
        found.append((str(caught.value), [p.detach().cpu() for p in made.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(map(torch.equal, found[0][1], found[1][1]))


@pytest.mark.parametrize(
    ("model", "kind"),
    [("tsbn", "binary"), ("dtsbn-d", "real"), ("hmm", "count"), ("lds", "real"), ("ar", "binary")],
)
def test_what_a_run_is_asked_is_answered(save_data, tmp_path, model: str, kind: str) -> None:
    arrays = ragged_arrays(kind=kind)
    arrays["test"] = arrays["test"].astype(np.float32)
    arrays["test"][5, 2] = arrays["test"][9] = np.nan
    values = {
        "model": {"name": model},
        "data": {"source": str(save_data(**arrays)), "kind": kind},
        "fit": {**TINY_FIT, "device": "cuda"},
    }
    run = fit_config(resolve(values), tmp_path / "run")
    run.objective.to(CUDA)
    assert np.isfinite(run.evaluate("test", estimator="fivo", particles=3).nats_per_frame)
    assert np.isfinite(run.predict(samples=3)["filtered"].squared_error)
    assert np.isfinite(run.forecast(2, samples=3).mean).all()
    assert np.isfinite(run.impute(samples=3).x).all()
    assert run.sample(2, 4)["x"].shape[:2] == (2, 4)
