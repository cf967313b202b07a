"""A whole run without any density: fitted, chosen, killed, resumed, by one process and by two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adversarial import Chosen, adversarial, points, ragged_points

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import metrics

OPTIONS = {"steps": 12, "evaluate_every": 5, "batch_size": 8, "device": "cpu"}


@pytest.mark.parametrize("step", [3, 7, 10])
@pytest.mark.parametrize("data", [points, ragged_points])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, data, step):
    splits = data()
    dgm.fit(adversarial(splits), splits, out=tmp_path / "whole", **OPTIONS)
    with pytest.raises(Killed):
        dgm.fit(
            adversarial(splits), splits, out=tmp_path / "killed", watcher=Killer(step), **OPTIONS
        )
    run = dgm.resume(tmp_path / "killed", objective=adversarial(splits), splits=splits)
    assert run.steps == 12
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_where_nothing_chooses_the_last_weights_are_kept(tmp_path):
    splits = points()
    made = adversarial(splits)
    run = dgm.fit(made, splits, out=tmp_path / "run", patience=1, **OPTIONS)
    assert run.folder.best() == run.folder.latest() == run.folder.checkpoint(12)
    evaluations = [line for line in metrics(tmp_path / "run") if "best" in line]
    assert [line["step"] for line in evaluations] == [5, 10, 12]
    assert {line["chosen_by"] for line in evaluations} == {"nothing"}
    again = dgm.Run.load(tmp_path / "run", splits, objective=adversarial(splits))
    assert torch.equal(again.model.shift, run.model.shift)


def test_a_score_of_its_own_chooses(tmp_path):
    splits = points()
    options = {**OPTIONS, "steps": 60, "lr": 0.5, "averaging": 0.0, "lr_decay": 0.5}
    run = dgm.fit(adversarial(splits, Chosen), splits, out=tmp_path / "run", **options)
    evaluations = [line for line in metrics(tmp_path / "run") if "best" in line]
    best = min(evaluations, key=lambda line: line["valid_distance_of_means"])
    assert run.folder.best() == run.folder.checkpoint(best["step"])
    assert best["chosen_by"] == "distance of means"


def test_a_checkpoint_holds_the_objective_once(tmp_path):
    """The critic once, model and guide twice: in training and averaged."""
    splits = points()
    run = dgm.fit(adversarial(splits), splits, out=tmp_path / "run", **OPTIONS)
    from safetensors.torch import load_file

    names = load_file(run.folder.latest() / checkpoint.WEIGHTS).keys()
    assert [name for name in names if "shift" in name] == [
        "averaged.model.shift",
        "objective.model.shift",
    ]
    assert all(name.startswith("objective.") for name in names if "critic" in name)
    assert not any("rows" in name or "chains" in name for name in names)


TWO = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import pyrodgm as dgm
from adversarial import adversarial, ragged_points
from killing import Killed, Killer
splits = ragged_points()
out, mode = sys.argv[2:4]
options = dict(steps=12, evaluate_every=5, batch_size=8, devices=2, device="cpu")

class Both(Killer):
    def on_progress(self, progress):
        pass

made = adversarial(splits)
if mode == "whole":
    run = dgm.fit(made, splits, out=out, **options)
elif mode == "begin":
    run = dgm.fit(made, splits, out=out, **{**options, "steps": 10})
else:
    run = dgm.resume(out, objective=made, splits=splits, steps=12)
rank = torch.distributed.get_rank()
weights = torch.cat([v.flatten().double() for v in made.state_dict().values()])
gathered = [torch.empty_like(weights) for _ in range(2)]
torch.distributed.all_gather(gathered, weights)
everything = splits.train.batch(range(len(splits.train)))
written = made.rows.written(everything).tolist()
print("%d %s %s" % (rank, torch.equal(*gathered), written), flush=True)
"""


def two_processes(script: Path, *words) -> list[str]:
    tests = Path(__file__).parents[1]
    command = [sys.executable, script, tests, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_two_processes_share_averages_and_keep_rows_and_chains_apart(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    lines = two_processes(script, tmp_path / "whole", "whole")
    written = [json.loads(line.split(" ", 2)[2].lower()) for line in lines]
    assert [line.split()[1] for line in lines] == ["True", "True"]
    # Every row was written on one process, and on that one alone.
    assert all(one != other for one, other in zip(*written, strict=True))
    state = checkpoint.read_state(RunFolder.open(tmp_path / "whole").latest())
    first, second = state["own"]
    assert not torch.equal(first["chains"]["x"], second["chains"]["x"])
    assert set(first["rows"]["rows"].tolist()).isdisjoint(second["rows"]["rows"].tolist())
    assert two_processes(script, tmp_path / "parts", "begin")
    assert two_processes(script, tmp_path / "parts", "resume") == lines
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
