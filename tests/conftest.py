"""Seeded tests; what a test changes for all others is a failure; tiny data to fit."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch

from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from pyrodgm_cli.main import main
from tiny import blank_figures, ragged, tiny_values

collect_ignore = ["benchmarks"]  # programs to run by hand; some need jax
DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def _global_state() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "validation flag": torch.distributions.Distribution._validate_args,
        "pyro's validation flag": pyro.settings.get("validate_poutine"),
        "parameters in Pyro's store": dict(pyro.get_param_store().items()),
    }


@pytest.fixture
def double_precision(seeded_and_guarded):
    """Everything in double precision and without gradients."""
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def seeded_and_guarded():
    """Seed, and fail a test that leaves global state behind."""
    pyro.set_rng_seed(0)
    before = _global_state()
    yield
    after = _global_state()
    pyro.clear_param_store()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"the test changed, for all that follow: {', '.join(changed)}"


@pytest.fixture
def without_drawing():
    """Figures are written blank."""
    with blank_figures():
        yield


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Path of a real data file; skips where this machine has none."""
    folder = Path(os.environ.get("PYRODGM_TEST_DATA", DEFAULT))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no {name} in {folder}; set PYRODGM_TEST_DATA to the data folder")
        return folder / name

    return find


@pytest.fixture
def save_data(tmp_path) -> Callable[..., Path]:
    """Write arrays, by default those of `ragged`, to an npz and return its path."""

    def save(name: str = "tiny.npz", **arrays: Any) -> Path:
        np.savez(tmp_path / name, **(arrays or ragged()))
        return tmp_path / name

    return save


@pytest.fixture
def tiny(save_data) -> Path:
    """A small binary dataset in a file."""
    return save_data()


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Path:
    """The folder of a small run; read only, its data lies beside it."""
    folder = tmp_path_factory.mktemp("fitted")
    np.savez(folder / "tiny.npz", **ragged())
    fit_config(resolve(tiny_values(folder / "tiny.npz")), folder / "run")
    return folder / "run"


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys) -> Callable[..., Said]:
    """Run the command line in this process."""

    def run(*words: Any) -> Said:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        said = capsys.readouterr()
        # Boxes and line breaks are a matter of the terminal's width.
        return Said(int(stopped.value.code or 0), said.out, " ".join(said.err.split()))

    return run
