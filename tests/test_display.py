"""Numbers, commands and refusals as a person reads them."""

import shlex

import numpy as np
import pytest

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.inspect import inspect, render
from pyrodgm.display import between, exact, number
from pyrodgm.errors import DataError, RunFolderError
from pyrodgm.models import AR, LDS
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from pyrodgm.storage.folder import RunFolder
from tiny import TINY_FIT, ragged


@pytest.mark.parametrize("power", range(-12, 13))
def test_numbers_keep_digits_in_any_units(power):
    value = 2.71828 * 10.0**power
    for signed in (value, -value):
        assert float(number(signed)) == pytest.approx(signed, rel=0.02)
    assert float(exact(value)) == value
    low, high = between(7e6 * value, 7e6 * value + value).split(" to ")
    assert float(high) - float(low) == pytest.approx(value, rel=0.01)


def test_tables_of_errors_at_1e_5_are_no_zeros(cli, save_data, tmp_path):
    arrays = ragged(kind="real")
    small = {k: x if k.endswith("_lengths") else 1e-5 * x for k, x in arrays.items()}
    data = {"source": str(save_data(**small))}
    fit_config(resolve({"model": {"name": "ar"}, "data": data, "fit": TINY_FIT}), tmp_path / "run")
    for words in ((), ("--horizon", 2, "--samples", 4)):
        said = cli("predict", tmp_path / "run", *words)
        assert said.code == 0, said.err
        assert "0.000" not in said.out
        assert "e-1" in said.out


def test_ranges_far_from_zero_are_told_apart(save_data):
    walk = 5_411_000 + 0.1 * np.arange(8.0)[:, None]
    shown = render(inspect(save_data(train=walk, train_lengths=np.full(4, 2))))
    assert "5411000 to 5411000.7" in shown


def test_a_value_that_a_kind_refuses_is_shown_as_it_is():
    part = Sequences(np.array([[0.5], [1.0000001]]), np.array([2]))
    with pytest.raises(DataError, match=r"has 1\.0000001 in feature 0"):
        Splits.of("near", "unit", dict.fromkeys(("train", "valid", "test"), part))


def test_suggested_commands_run_in_folders_with_spaces(tmp_path):
    path = tmp_path / "my runs"
    folder = RunFolder.create(path)
    folder.config.write_text("[model]\nname = 'ar'\n")
    words = shlex.split(folder.how_to_resume().partition(": ")[2])
    assert words == ["pyrodgm", "fit", "--resume", str(path)]
    with pytest.raises(RunFolderError) as error:
        RunFolder.check_free(path)
    assert str(error.value).endswith(f"--resume {shlex.quote(str(path))}")


def test_values_that_would_fit_as_another_kind_say_so():
    part = Sequences(np.random.default_rng(0).random((4, 2)), np.array([4]))
    info = Splits.of("scaled", "unit", dict.fromkeys(("train", "valid", "test"), part)).info
    for refused in (lambda: LDS(info), lambda: AR(info, emission="gaussian")):
        with pytest.raises(DataError, match=r"Or read the values as real: data\.kind=real"):
            refused()
