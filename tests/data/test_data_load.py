import inspect
from pathlib import Path

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.errors import DataError, UsageError


def test_names_lead_to_loaders_with_a_typed_signature():
    for loader in data.DATASETS.values():
        assert loader.__doc__
        for parameter in inspect.signature(loader).parameters.values():
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default is not parameter.empty
            assert parameter.annotation is not parameter.empty


def test_options_reach_the_loader():
    splits = data.load("balls", num_train=2, num_valid=1, num_test=1, length=3)
    assert (len(splits.train), splits.info.max_length) == (2, 3)


def test_unknown_names_are_listed():
    with pytest.raises(
        UsageError, match=r"'bals'; did you mean 'balls'.*balls, cmu35-walk, fsdd, gmm32, gmm5, jsb"
    ):
        data.load("bals")
    with pytest.raises(
        UsageError, match="'zzz'; known: avb-points, balls, cmu35-walk, fsdd, gmm32, gmm5, jsb"
    ):
        data.load("zzz")


def test_unknown_options_are_explained(tmp_path):
    with pytest.raises(UsageError, match="'balls' has no option 'sede'; did you mean 'seed'"):
        data.load("balls", sede=1)
    with pytest.raises(UsageError, match="no option 'image_shap'; did you mean 'image_shape'"):
        data.load(tmp_path / "toy.npz", image_shap=(1, 1))


@pytest.mark.parametrize("source", ["absent.npz", "folder/absent", Path("absent")])
def test_what_looks_like_a_path_must_exist(source):
    with pytest.raises(DataError, match=r"there is no file '.*absent"):
        data.load(source)


def test_a_path_may_be_text_and_have_no_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("toy").open("wb") as file:
        np.savez(file, train=np.eye(4))
    assert data.load("toy").info.dim == 4
    assert data.load(str(tmp_path / "toy"), frame_rate=3.0).info.frame_rate == 3.0
