"""The command as a process: signals, several processes, progress where there is no terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import metrics

WORDS = ["--set", "model.hidden_dim=3", "--set", "fit.evaluate_every=10", "--device", "cpu"]


def wait_for(process, found):
    deadline = time.monotonic() + 60
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_writes_a_checkpoint_and_ends_with_code_130(start, tiny, tmp_path):
    words = [*WORDS, "--steps", 10**6, "--set", f"fit.patience={10**6}"]
    process = start("fit", "--data", tiny, *words, "--out", tmp_path / "r")
    wait_for(process, lambda: list(tmp_path.glob("r/checkpoints/step-*")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    newest = checkpoint.read_state(RunFolder.open(tmp_path / "r").latest())
    assert f"stopped after step {newest['step']}; continue with: pyrodgm fit --resume" in err
    assert out == ""
    assert "Traceback" not in err


def test_two_processes_train_as_one(start, tiny, tmp_path):
    words = [*WORDS, "--steps", 2000, "--time-limit", 1000, "--lr", 0.5, "--json"]
    words += ["--set", "fit.patience=3", "--objective", "nvil", "--devices", 2]
    process = start("fit", "--data", tiny, *words, "--out", tmp_path / "r")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["steps"] < 2000
    assert err.count("training, at most") == 1
    lines = metrics(tmp_path / "r")
    evaluated = [line["step"] for line in lines if "best" in line]
    assert evaluated == sorted(set(evaluated))
    state = checkpoint.read_state(RunFolder.open(tmp_path / "r").latest())
    first, second = state["generators"]
    assert not first["torch"].equal(second["torch"])
    again = start("fit", "--resume", tmp_path / "r", "--steps", 10**6)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err


EQUAL = """
import sys, torch, numpy as np, pyrodgm as dgm
splits = dgm.data.load(sys.argv[1])
torch.manual_seed(0)
model = dgm.models.TSBN(splits.info, hidden_dim=3)
objective = dgm.objectives.NVIL(model, dgm.guides.RecurrentBernoulli(model))
run = dgm.fit(objective, splits, steps=15, evaluate_every=5, batch_size=8, devices=2, device="cpu",
              out=sys.argv[2])
everything = torch.cat([v.flatten() for v in objective.state_dict().values()])
gathered = [torch.empty_like(everything) for _ in range(2)]
sys.setswitchinterval(100)  # gloo's threads meet the end of the process more often
torch.distributed.all_gather(gathered, everything)
assert torch.equal(*gathered)
print("equal", flush=True)
"""


def test_both_processes_end_with_equal_parameters(tiny, tmp_path):
    (tmp_path / "equal.py").write_text(EQUAL)
    command = [sys.executable, tmp_path / "equal.py", tiny, tmp_path / "r"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "".join(done.stdout.split()) == "equalequal"  # lines of two processes may run together


@pytest.mark.parametrize(("lr", "code"), [("1e38", 4)])
def test_two_processes_fail_as_one(start, tiny, tmp_path, lr, code):
    words = [*WORDS, "--lr", lr, "--devices", 2, "--out", tmp_path / "r"]
    process = start("fit", "--data", tiny, *words)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.count("pyrodgm: ") == 1
    assert "Traceback" not in err


def test_a_terminal_sees_a_bar(tiny, tmp_path):
    main, side = pty.openpty()
    command = [sys.executable, str(Path(sys.executable).with_name("pyrodgm")), "fit"]
    words = ["--data", str(tiny), *WORDS, "--steps", "30", "--out", str(tmp_path / "r")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(
        [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=side, env=environment
    )
    os.close(side)
    seen = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:  # the other end was closed
            break
        seen += chunk
    out, _ = process.communicate(timeout=20)
    os.close(main)
    assert process.returncode == 0, seen
    assert b"steps/s" in seen
    assert b"elbo" in seen
    assert b"30 steps" in out
