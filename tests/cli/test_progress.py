"""Progress output of training without a terminal."""

from pathlib import Path

import numpy as np
import torch

from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.loop import Progress
from pyrodgm_cli.progress import showing_progress, watching


def test_lines_show_the_newest_numbers_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr("pyrodgm_cli.progress.LINE_EVERY", 0.0)
    bound = Bound.of(np.array([-25.0]), np.array([4]), "elbo")
    report = {"elbo_nats_per_frame": torch.tensor(-7.5), "other": torch.tensor(1.0)}
    with watching() as display:
        display.on_start(Path("one"), FitOptions(steps=100), 0, 0.0)
        display.on_evaluation(10, Validation.of(bound), True)
        display.on_progress(Progress(24, 5.0, report, "elbo_nats_per_frame"))
        shown = Validation("bound", -6.25, {"accuracy": 0.5, "other": 1.0}, shown=("accuracy",))
        display.on_evaluation(10, shown, True)
        display.on_progress(Progress(25, 5.0, report, "elbo_nats_per_frame"))
        display.on_start(Path("two"), FitOptions(steps=100, time_limit=60), 0, 0.0)
        display.on_progress(Progress(10, 30.0, report, "elbo_nats_per_frame"))
        display.on_end("step 10 of at most 10")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "one: training, at most 100 steps",
        "step 24  elbo -7.500  valid -6.250 *  4.8 steps/s  0:00:15 left",
        "step 25  elbo -7.500  valid -6.250 *  accuracy 0.500  5.0 steps/s  0:00:15 left",
        "two: training, at most 100 steps, 60 s",
        "step 10  elbo -7.500  0.3 steps/s  0:00:30 left",
        "training ended: step 10 of at most 10",
    ]


def test_long_work_tells_its_share_now_and_then(capsys, monkeypatch):
    with showing_progress() as progress:
        progress("weights", 0.5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pyrodgm_cli.progress.LINE_EVERY", 0.0)
    with showing_progress() as progress:
        progress("weights", 0.5)
    with showing_progress(quiet=True) as progress:
        progress("weights", 1.0)
    assert capsys.readouterr().err == "weights: 50 %\n"


def test_long_work_is_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with showing_progress(quiet=True) as progress:
        progress("weights", 0.5)
    assert "50%  weights" in capsys.readouterr().err
