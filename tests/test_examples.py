"""Every example runs, in a process of its own, and every command that the README shows exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from tiny import ragged

ROOT = Path(__file__).parents[1]

# Arguments that keep an example short; an example that is missing here fails the suite.
EXAMPLES = {
    "avb_pyro.py": ["--steps", "2"],
    "casino.py": ["--steps", "2", "--rolls", "2000"],
    "next_frame_guide.py": ["--steps", "2"],
    "own_energy.py": ["--steps", "2", "--rows", "200"],
    "own_game.py": ["--steps", "2"],
    "own_program_svi.py": ["--steps", "2"],
    "topics.py": ["--steps", "2", "--data", "counts.npz"],
    "tsbn_balls.py": ["--steps", "2", "--videos", "20", "--units", "10"],
    "tsbn_motion.py": ["--steps", "2", "--data", "real.npz"],
    "tsbn_music.py": ["--steps", "2", "--data", "balls"],
}


def test_every_example_is_listed() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, tmp_path: Path) -> None:
    path = ROOT / "examples" / name
    np.savez(tmp_path / "real.npz", **ragged(kind="real"))
    np.savez(tmp_path / "counts.npz", **ragged(kind="count"))
    done = subprocess.run(
        [sys.executable, path, *EXAMPLES[name]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"nats per frame|share of draws", done.stdout)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_short_enough_to_read(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 80


def test_the_casino_is_recovered() -> None:
    """The likelihood of 4000 rolls is above the true model's by half a chi-square number.

    It has 13 degrees of freedom, the free parameters, and exceeds 45 once in 50,000 tries. Training
    that is not over may leave it 0.0005 a roll below.
    """
    path = ROOT / "examples" / "casino.py"
    command = [sys.executable, path, "--steps", "100", "--rolls", "4000"]
    done = subprocess.run(command, capture_output=True, text=True)
    fitted, true = map(float, re.findall(r"-\d+\.\d+", done.stdout)[:2])
    assert true - 0.0005 < fitted < true + 22.5 / 4000
    shares = [float(share) for share in re.findall(r"([\d.]+)% of the dice", done.stdout)]
    assert shares[0] > shares[1] - 5


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    text = "\n".join(page.read_text() for page in pages)
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


def test_benchmark_runs() -> None:
    script = ROOT / "tests" / "benchmarks" / "step_time.py"
    sizes = ["--dim", "4", "--length", "3", "--batch-size", "2", "--rounds", "1"]
    done = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| hand-written PyTorch |" in done.stdout
    assert "TraceGraph_ELBO" in done.stdout
