"""The command as a process: signals, several processes, progress where there is no terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

from processes import LIMIT, command, started, together, wait_for
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import metrics

WORDS = ["--set", "model.hidden_dim=3", "--set", "fit.evaluate_every=10", "--device", "cpu"]


def test_ctrl_c_writes_a_checkpoint_and_ends_with_code_130(tiny, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    words = [*WORDS, "--steps", 10**6, "--set", f"fit.patience={10**6}", "--out", tmp_path / "r"]
    with started("fit", "--data", tiny, *words, out=out, err=err) as process:
        wait_for(process, lambda: list(tmp_path.glob("r/checkpoints/step-*")))
        os.kill(process.pid, signal.SIGINT)
        process.join(LIMIT)
    said = err.read_text()
    assert process.exitcode == 130, said
    newest = checkpoint.read_state(RunFolder.open(tmp_path / "r").latest())
    assert f"stopped after step {newest['step']}; continue with: pyrodgm fit --resume" in said
    assert out.read_text() == ""
    assert "Traceback" not in said


EQUAL = """
import sys
import torch
from torch import distributed
from pyrodgm.objectives import NVIL

sys.setswitchinterval(100)  # gloo's threads meet the end of the process more often


class Equal(NVIL):
    def validate(self, sequences, *, seed=0):
        if distributed.is_initialized():
            mine = torch.cat([value.flatten() for value in self.state_dict().values()])
            everywhere = [torch.empty_like(mine) for _ in range(2)]
            distributed.all_gather(everywhere, mine)
            assert torch.equal(*everywhere)
        return super().validate(sequences, seed=seed)
"""


def test_two_processes_train_as_one(tiny, tmp_path):
    (tmp_path / "equal.py").write_text(EQUAL)
    words = [*WORDS, "--steps", 2000, "--time-limit", 1000, "--lr", 0.5, "--json", "--devices", 2]
    words += ["--set", "fit.patience=3", "--objective", f"{tmp_path / 'equal.py'}:Equal"]
    program = [sys.executable, Path(sys.executable).with_name("pyrodgm"), "fit", "--data", tiny]
    done = subprocess.run(
        [*program, *map(str, words), "--out", tmp_path / "r"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] < 2000
    assert done.stderr.count("training, at most") == 1
    lines = metrics(tmp_path / "r")
    evaluated = [line["step"] for line in lines if "best" in line]
    assert evaluated == sorted(set(evaluated))
    state = checkpoint.read_state(RunFolder.open(tmp_path / "r").latest())
    first, second = state["generators"]
    assert not first["torch"].equal(second["torch"])
    again = ("fit", "--resume", tmp_path / "r", "--steps", 10**6)
    assert together(command, again, tmp_path / "out", tmp_path / "err") == [0, 0]


def test_two_processes_fail_as_one(tiny, tmp_path):
    words = [*WORDS, "--lr", "1e38", "--devices", 2, "--out", tmp_path / "r"]
    codes = together(command, ("fit", "--data", tiny, *words), tmp_path / "out", tmp_path / "err")
    said = (tmp_path / "err").read_text()
    assert codes == [4, 0], said  # the launcher kills the first one where another fails
    assert said.count("pyrodgm: ") == 1
    assert "Traceback" not in said


def test_a_terminal_sees_a_bar(tiny, tmp_path):
    main, side = pty.openpty()
    words = ["fit", "--data", tiny, *WORDS, "--steps", 30, "--out", tmp_path / "r"]
    environment = {"TERM": "xterm", "COLUMNS": "150"}
    out, seen = tmp_path / "out", b""
    with started(*words, out=out, err=os.ttyname(side), environment=environment) as process:
        while (ready := select.select([main], [], [], 0.1)[0]) or process.is_alive():
            seen += os.read(main, 4096) if ready else b""
    os.close(side)
    os.close(main)
    assert process.exitcode == 0, seen
    assert b"steps/s" in seen
    assert b"elbo" in seen
    assert "30 steps" in out.read_text()
