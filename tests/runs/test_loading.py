"""A run folder that another version wrote."""

import json
import shutil

import pytest

from pyrodgm import Run
from pyrodgm.errors import ConfigError, RunFolderError
from pyrodgm.runs.fitting import resume


@pytest.fixture
def fitted_copy(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def from_version(run, wrote: str) -> None:
    """As version 0.1 wrote it: the guide repeated the sizes of the model."""
    config = run / "config.toml"
    config.write_text(config.read_text().replace("[guide]", "[guide]\nhidden_dim = 3"))
    environment = json.loads((run / "environment.json").read_text())
    environment["versions"]["pyrodgm"] = wrote
    (run / "environment.json").write_text(json.dumps(environment))


@pytest.mark.parametrize("read", [Run.load, resume])
def test_options_of_another_version_are_read_by_that_version(fitted_copy, read) -> None:
    from_version(fitted_copy, "0.1.0")
    said = (
        r"run was fitted by pyrodgm 0\.1\.0; use that version to read it.*guide.hidden_dim: no such"
    )
    with pytest.raises(RunFolderError, match=said):
        read(fitted_copy)


def test_a_mistake_in_a_configuration_of_this_version_is_one(fitted_copy) -> None:
    config = fitted_copy / "config.toml"
    config.write_text(config.read_text().replace("[guide]", "[guide]\nhidden_dim = 3"))
    with pytest.raises(ConfigError, match=r"guide\.hidden_dim: no such option"):
        Run.load(fitted_copy)
