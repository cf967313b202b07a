"""The command as a whole: help without torch, unknown words, errors as messages."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from pyrodgm.errors import Interrupted, NonFiniteError, QuadratureWarning, UsageError
from pyrodgm_cli import main as command
from pyrodgm_cli.main import COMMANDS, Messages


def test_help_does_not_import_torch():
    program = """
import sys
from click.testing import CliRunner
from pyrodgm_cli.main import group
for words in (["--help"], ["fit", "--help"]):
    result = CliRunner().invoke(group, words)
    assert result.exit_code == 0 and "Usage" in result.output, result
assert not {"torch", "pyro", "numpy", "pyrodgm"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


@pytest.mark.parametrize("name", [[], *([name] for name in COMMANDS), ["data", "inspect"]])
def test_every_command_has_help(cli, name):
    said = cli(*name, "--help")
    assert said.code == 0
    assert "Usage: pyrodgm" in said.out


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "fit",
            "--model --guide --objective --data --out --steps --time-limit --batch-size --lr "
            "--seed --device --precision --devices --num-nodes --config --set --resume --json",
        ),
        ("evaluate", "--data --split --particles --estimator --json"),
        ("sample", "--num --out"),
        ("check", "--split --json"),
        ("compare", "--split --json"),
        ("list", "--json --grid"),
    ],
)
def test_the_flags_are_those_of_the_contract(cli, command, flags):
    shown = set(re.findall(r"--[a-z-]+", cli(command, "--help").out))
    assert set(flags.split()) <= shown


def test_the_version_is_shown(cli):
    assert version("pyrodgm") in cli("--version").out


def test_an_unknown_command_gets_a_hint(cli):
    said = cli("fti")
    assert said.code == 2
    assert "unknown command 'fti'; did you mean 'fit'?" in said.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fit", "--stpes", "3"], "--steps"),
        (["fit", "--steps", "many"], "'many' is not a valid integer"),
        (["fit", "--device", "gpu"], "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["compare"], "Missing argument 'RUNS...'"),
    ],
)
def test_mistyped_flags_end_with_code_2(cli, words, part):
    said = cli(*words)
    assert said.code == 2
    assert part in said.err
    assert said.out == ""


def raising(error):
    @click.command("broken")
    def broken():
        raise error

    return broken


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("big"), 2, "out of memory; lower --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes\nmore"), 2, "9 bytes)"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_errors_from_outside_are_messages(cli, monkeypatch, error, code, part):
    monkeypatch.setattr(command.LazyGroup, "get_command", lambda *_: raising(error))
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    said = cli("fit")
    assert said.code == code
    assert part in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", sorted(command.SMALLER))
def test_out_of_memory_a_command_names_options_that_it_has(cli, monkeypatch, name):
    has = {word for option in command.group.get_command(None, name).params for word in option.opts}
    monkeypatch.setattr(command.LazyGroup, "get_command", lambda *_: raising(MemoryError("big")))
    named = {word for word in cli(name).err.split() if word.startswith("--")}
    assert named
    assert named <= has


@pytest.mark.parametrize(
    ("error", "code"), [(NonFiniteError("nan"), 0), (Interrupted("c"), 0), (UsageError("no"), 2)]
)
@pytest.mark.parametrize("processes", [1, 2])
def test_of_several_processes_the_first_says_why(cli, monkeypatch, error, code, processes):
    """A single one says why whatever its rank, which may number jobs of a cluster."""

    @click.command
    @click.pass_obj
    def failing(messages):
        messages.of_processes(processes)
        raise error

    monkeypatch.setattr(command.LazyGroup, "get_command", lambda *_: failing)
    monkeypatch.setenv("LOCAL_RANK", "1")
    said = cli("fit")
    assert said.code == (code if processes == 2 else error.exit_code)
    assert (said.err == "") == (processes == 2)


def test_a_bug_of_ours_is_no_message_but_itself(monkeypatch):
    monkeypatch.setattr(command.LazyGroup, "get_command", lambda *_: raising(ValueError("bug")))
    with pytest.raises(ValueError, match="bug"):
        command.main(["fit"])


def test_list_shows_names_and_what_fits(cli):
    said = cli("list")
    assert "tsbn + recurrent-bernoulli: " in said.out
    fits = json.loads(cli("list", "--json").out)["fits"]
    assert {"model": "tsbn", "guide": "recurrent-bernoulli", "objective": "nvil"} in fits
    assert cli("list", "data").out.startswith("data\n")
    assert "fits" not in json.loads(cli("list", "models", "--json").out)
    unknown = cli("list", "model")
    assert unknown.code == 2
    assert "did you mean 'models'" in unknown.err


def test_list_shows_the_options_of_a_name(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = cli("list", "vrnn").out
    assert "model vrnn: The variational recurrent neural network." in said
    assert "guide vrnn: " in said
    assert "  latent_dim   32     size of a frame's latent vector, J.\n" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "fit: Options of training" in cli("list", "fit").out
    assert "No options" in cli("list", "none").out
    (found,) = json.loads(cli("list", "rws", "--json").out)
    particles = {"name": "particles", "default": 16, "meaning": "number of draws K, at least 2."}
    assert particles in found["options"]
    assert "leave 'rws' out" in cli("list", "rws", "--grid").err


def test_the_grid_is_that_of_the_documentation(cli, monkeypatch):
    """If this fails after a new model or objective: make grid."""
    monkeypatch.setenv("COLUMNS", "100")
    shown = cli("list", "--grid").out
    assert shown == (Path(__file__).parents[2] / "docs/grid.txt").read_text()
    monkeypatch.setenv("COLUMNS", "80")
    narrow = cli("list", "--grid").out
    assert max(map(len, shown.splitlines())) <= 100
    assert max(map(len, narrow.splitlines())) <= 90


def test_the_grid_as_json_has_the_reason_of_every_empty_cell(cli):
    found = json.loads(cli("list", "--grid", "--json").out)
    assert found["grid"]["nvil"]["tsbn"]["guides"] == [
        "recurrent-bernoulli",
        "recurrent-deterministic",
        "smoothing-bernoulli",
    ]
    cell = found["grid"]["ml"]["vae"]
    assert cell["reasons"] == ["model has continuous latents; needed: no latents"]
    row = {"objective": "wake-sleep", "class": "WakeSleep", "theta": "V-LB", "phi": "sleep"}
    assert row | {"source": "alg. 4, eq. 20-22", "options": ""} in found["targets"]
    assert "leave 'models' out" in cli("list", "models", "--grid").err


def test_a_triple_that_does_not_fit_is_refused_before_data_is_read(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("PYRODGM_DATA", str(tmp_path))  # where there is none
    said = cli("fit", "--model", "rbm", "--objective", "nvil", "--data", "mnist")
    assert said.code == 2
    assert "objectives that fit this model and guide: cd, pcd" in said.err


def test_a_warning_of_quadrature_is_shown_once_and_others_once_per_text(capsys):
    shown = Messages()
    for change in (0.25, 1.5):
        shown.show(QuadratureWarning(f"log Z changes by {change} nats"))
        shown.show(UserWarning(f"column {change} is constant"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-2] for line in lines] == ["0.25", "is", "is"]
