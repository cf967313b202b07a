"""Every example runs as a script does, and every command that the README shows exists."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pyro
import pytest

from sounds import folder_of
from tiny import ragged

ROOT = Path(__file__).parents[1]

# Arguments that keep an example short; an example that is missing here fails the suite.
EXAMPLES = {
    "avb_pyro.py": ["--steps", "2"],
    "avrnn_pyro.py": ["--steps", "2"],
    "casino.py": ["--steps", "40", "--rolls", "4000"],
    "cycle.py": ["--steps", "2"],
    "divergences.py": ["--steps", "2"],
    "inclusive_field.py": ["--steps", "2"],
    "next_frame_guide.py": ["--steps", "2", "--data", "binary.npz"],
    "own_energy.py": ["--steps", "2", "--rows", "200"],
    "own_game.py": ["--steps", "2"],
    "own_implicit_guide.py": ["--steps", "2"],
    "own_program_svi.py": ["--steps", "2"],
    "topics.py": ["--steps", "2", "--data", "counts.npz"],
    "tsbn_balls.py": ["--steps", "2", "--videos", "2", "--units", "10"],
    "tsbn_motion.py": ["--steps", "2", "--data", "real.npz"],
    "tsbn_music.py": ["--steps", "2", "--data", "binary.npz"],
    "vrnn_speech.py": ["--steps", "2", "--data", "talk"],
}


def test_every_example_is_listed() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.fixture
def script(tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """Run a file as a script in this process, beside small data; what it prints."""
    monkeypatch.chdir(tmp_path)
    for name, kind in {"binary": "binary", "real": "real", "counts": "count"}.items():
        np.savez(tmp_path / f"{name}.npz", **ragged(kind=kind))
    folder_of(tmp_path / "talk", 6)

    def run(path: Path, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
        with pytest.raises(SystemExit) as stopped, pyro.get_param_store().scope():
            runpy.run_path(str(path), run_name="__main__")
        assert stopped.value.code == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "casino.py"])
def test_example_runs(script, name: str) -> None:
    said = script(ROOT / "examples" / name, *EXAMPLES[name])
    assert re.search(r"nats per frame|share of draws", said)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_short_enough_to_read(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 80


def test_the_casino_runs_and_is_recovered(script) -> None:
    """The likelihood of 4000 rolls is above the true model's by half a chi-square number.

    It has 13 degrees of freedom, the free parameters, and exceeds 45 once in 50,000 tries. Training
    that is not over may leave it 0.0005 a roll below.
    """
    said = script(ROOT / "examples" / "casino.py", *EXAMPLES["casino.py"])
    fitted, true = map(float, re.findall(r"-\d+\.\d+", said)[:2])
    assert true - 0.0005 < fitted < true + 22.5 / 4000
    shares = [float(share) for share in re.findall(r"([\d.]+)% of the dice", said)]
    assert shares[0] > shares[1] - 5


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    return sorted(set(re.findall(r"^\s*(pyrodgm [a-z].*?)\s*(?:#.*)?$", text, re.MULTILINE)))


@pytest.mark.parametrize("line", documented_commands())
def test_documented_command_parses(line: str) -> None:
    """The command exists and has every option shown; nothing is run."""
    from pyrodgm_cli.main import group

    words = shlex.split(line.replace("...", ""))[1:]
    command: click.Command = group
    context = click.Context(command)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name}"
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    used = {word.split("=")[0] for word in words if word.startswith("-")}
    assert used <= known | {"--help"}, used - known


def test_documentation_shows_commands() -> None:
    assert len(documented_commands()) >= 5


def test_benchmark_runs(script) -> None:
    sizes = ["--dim", "4", "--length", "3", "--batch-size", "2", "--rounds", "1"]
    said = script(ROOT / "tests" / "benchmarks" / "step_time.py", *sizes)
    assert "| hand-written PyTorch |" in said
    assert "TraceGraph_ELBO" in said
