import hashlib

import numpy as np
import pytest

from pyrodgm.data import local
from pyrodgm.data.base import Sequences
from pyrodgm.errors import DataError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folder of the environment and the cache, both still missing."""
    monkeypatch.setenv(local.ENVIRONMENT, str(tmp_path / "mine"))
    monkeypatch.setattr(local.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "mine", tmp_path / "cache" / "pyrodgm"


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path))
    return path


def test_the_folder_of_the_environment_comes_before_the_cache(places):
    mine, cache = places
    assert local.find("music", ["a.npz"]) is None
    for place in (cache / "music", cache, mine / "music", mine):
        later = put(place / "a.npz")
        assert local.find("music", ["a.npz"]) == later


def test_without_the_environment_there_is_the_cache(places, monkeypatch):
    put(places[0] / "a.npz")
    found = put(places[1] / "a.npz")
    monkeypatch.delenv(local.ENVIRONMENT)
    assert local.find("music", ["a.npz"]) == found


def test_names_are_tried_in_order_in_each_place(places):
    mine, cache = places
    put(cache / "a.npz")
    second = put(mine / "b.npz")
    assert local.find("music", iter(["a.npz", "b.npz"])) == second


def test_what_is_missing_is_explained(places):
    with pytest.raises(DataError) as error:
        local.need("walks", "mocap", "walks of Alice: train (5, 2)", "walks.npz", "names.txt")
    for words in (
        "'walks' is not on this machine",
        "walks of Alice: train (5, 2)",
        "Put walks.npz and names.txt into a folder, or its subfolder mocap",
        "PYRODGM_DATA",
        str(places[1]),
        "option path",
    ):
        assert words in str(error.value)
    there = put(places[0] / "mocap" / "walks.npz")
    assert local.need("walks", "mocap", "walks of Alice", "walks.npz") == there


def test_a_digest_is_of_all_files_in_order(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode() * 2**20)
    whole = b"a" * 2**20 + b"b" * 2**20
    assert local.sha256(*paths) == hashlib.sha256(whole).hexdigest()
    assert local.sha256(*reversed(paths)) != local.sha256(*paths)


def test_conditions_and_held_out_counts_are_part_of_a_digest():
    x, lengths = np.ones((3, 2)), np.array([2, 1])
    plain = Sequences(x, lengths)
    given = Sequences(x, lengths, conditions=np.ones((3, 1)))
    held = Sequences(x, lengths, held_out=np.ones((3, 2)))
    assert len({local.content_sha256(part) for part in (plain, given, held)}) == 3
