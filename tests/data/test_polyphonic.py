import functools
import pickle
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.data import local, polyphonic
from pyrodgm.data.polyphonic import JSB, Collection
from pyrodgm.errors import DataError, UsageError

PIECES = {
    "train": [[(21, 60), (), (108,)], [(60, 64, 67)]],
    "valid": [[(60,)]],
    "test": [[(61,), (62,)]],
}


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv(local.ENVIRONMENT, raising=False)
    monkeypatch.setattr(local.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "pyrodgm"


@pytest.fixture
def web(tmp_path, cache):
    """A collection whose address is a folder served on this machine, and that folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(Handler, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/tiny.pickle?raw=true"
    yield Collection("tiny", "tiny", ((2, 4), (1, 1), (1, 2)), 2.0, url), folder / "tiny.pickle"
    server.shutdown()
    server.server_close()


def left_behind(cache):
    return sorted(path.name for path in cache.rglob("*"))


def test_downloaded_once_then_read_from_the_cache(web, cache):
    tiny, file = web
    file.write_bytes(pickle.dumps(PIECES))
    splits = tiny.load()
    assert left_behind(cache) == ["tiny.npz"]
    file.unlink()
    again = tiny.load()
    assert again.sha256 == splits.sha256 != ""
    assert splits.info.name == "tiny"
    assert (splits.info.kind, splits.info.lowest_pitch, splits.info.frame_rate) == ("binary", 21, 2)
    assert splits.train.lengths.tolist() == [3, 1]
    keys = [np.flatnonzero(frame).tolist() for frame in again.train.x.numpy()]
    assert keys == [[0, 39], [], [87], [39, 43, 46]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(PIECES)[:-9], "'tiny.pickle' is not a collection.*truncated"),
        (b"<html>busy</html>", "not a collection of piano rolls"),
        (pickle.dumps({**PIECES, "train": PIECES["train"][:1]}), "not the published tiny.*found"),
        (pickle.dumps({"train": PIECES["train"]}), "KeyError: 'valid'"),
        (pickle.dumps({**PIECES, "test": [[(20,)]]}), "pitch 20 is below"),
        (pickle.dumps({**PIECES, "test": [[(109,)]]}), "index 88 is out of bounds"),
        (pickle.dumps({**PIECES, "test": [[(60.5,)]]}), "not a collection"),
    ],
)
def test_a_wrong_download_says_so_and_leaves_nothing(web, cache, content, message):
    tiny, file = web
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        tiny.load()
    assert left_behind(cache) == []


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_program_in_a_pickle_is_not_run(web, cache, tmp_path):
    tiny, file = web
    file.write_bytes(pickle.dumps({**PIECES, "valid": Malicious(tmp_path / "owned")}))
    with pytest.raises(DataError, match=r"refused: it refers to _?io.open"):
        tiny.load()
    assert not (tmp_path / "owned").exists()
    assert left_behind(cache) == []


def test_even_numpy_is_not_unpickled(tmp_path):
    file = tmp_path / "numpy.pickle"
    file.write_bytes(pickle.dumps({**PIECES, "train": np.ones(3)}))
    with pytest.raises(DataError, match="refused: it refers to numpy"):
        polyphonic.read_pickle(file)


def test_without_network_three_ways_are_named(web, cache):
    tiny, _ = web  # nothing is served at the address: 404
    with pytest.raises(DataError, match="404") as error:
        tiny.load()
    for way in (tiny.url, str(cache), "PYRODGM_DATA", "option path"):
        assert way in str(error.value)
    offline = replace(tiny, url="http://127.0.0.1:9/tiny.pickle")
    with pytest.raises(DataError, match=r"'tiny' is not on this machine.*\(3\)"):
        offline.load()
    assert left_behind(cache) == []


@pytest.mark.parametrize("folder", [".", "polyphonic"])
@pytest.mark.parametrize("suffix", [".pickle", ".pkl"])
def test_the_folder_of_the_environment_comes_first(web, tmp_path, monkeypatch, folder, suffix):
    tiny, _ = web
    target = tmp_path / "mine" / folder
    target.mkdir(parents=True)
    (target / f"tiny{suffix}").write_bytes(pickle.dumps(PIECES))
    monkeypatch.setenv(local.ENVIRONMENT, str(tmp_path / "mine"))
    assert tiny.load().train.num_frames == 4


def test_a_path_may_be_given(web, tmp_path):
    tiny, _ = web
    (tmp_path / "any.pickle").write_bytes(pickle.dumps(PIECES))
    assert tiny.load(tmp_path / "any.pickle").info.name == "tiny"


def notes(piece):
    return [np.flatnonzero(frame).tolist() for frame in piece.numpy()]


def test_training_sees_pieces_in_all_keys_of_the_keyboard(web, tmp_path):
    tiny, _ = web
    (tmp_path / "tiny.pickle").write_bytes(pickle.dumps(PIECES))
    plain, splits = (
        tiny.load(tmp_path / "tiny.pickle"),
        tiny.load(tmp_path / "tiny.pickle", transpose=2),
    )
    assert plain.augmented is None
    assert splits.train.x.equal(plain.train.x)
    assert splits.info == plain.info
    # The first piece spans the keyboard and cannot move; the second can.
    assert splits.training.lengths.tolist() == [3, 1, 1, 1, 1, 1]
    assert [notes(splits.training.sequence(row)) for row in (0, 1)] == [
        notes(splits.train.sequence(row)) for row in (0, 1)
    ]
    moved = [notes(splits.training.sequence(row))[0] for row in range(2, 6)]
    assert moved == [[39 + s, 43 + s, 46 + s] for s in (-2, -1, 1, 2)]
    assert splits.training.x.dtype == splits.train.x.dtype
    with pytest.raises(UsageError, match="transpose is -1"):
        tiny.load(tmp_path / "tiny.pickle", transpose=-1)


def test_no_note_falls_off_and_none_is_lost(real_data, monkeypatch):
    monkeypatch.setenv(local.ENVIRONMENT, str(real_data("polyphonic/jsb_chorales.npz").parents[1]))
    splits = data.load("jsb", transpose=6)
    assert len(splits.training) == 13 * len(splits.train)  # chorales keep to the middle
    per_frame = splits.training.x.numpy().reshape(13, -1, 88).sum(2)
    assert (per_frame == per_frame[0]).all()


def test_a_name_means_the_published_collection(real_data, monkeypatch):
    with pytest.raises(DataError, match=r"not the published jsb.*give its path, as a ragged npz"):
        data.load("jsb", path=str(real_data("polyphonic/nottingham.npz")))


@pytest.mark.parametrize(
    ("name", "file", "floor"), [("jsb", "jsb_chorales", 11.06), ("nottingham", "nottingham", 10.25)]
)
def test_real_collections_have_the_published_facts(real_data, monkeypatch, name, file, floor):
    monkeypatch.setenv(local.ENVIRONMENT, str(real_data(f"polyphonic/{file}.npz").parents[1]))
    splits = data.load(name)
    assert (splits.info.name, splits.info.lowest_pitch) == (name, 21)
    assert splits.notes == ()
    mean = np.array(splits.info.mean)
    x = splits.test.x.numpy().astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = np.where(x == 1, -np.log(mean), -np.log1p(-mean))
    assert nats[:, mean > 0].sum(1).mean() == pytest.approx(floor, abs=0.05)
    if name == "jsb":
        assert mean.sum() == pytest.approx(3.90, abs=0.005)


def test_piano_rolls_survive_the_way_through_a_pickle(real_data, cache, tmp_path):
    truth = data.ragged.read(real_data("polyphonic/jsb_chorales.npz"))
    pieces = {
        split: [
            [tuple((frame.nonzero()[:, 0] + 21).tolist()) for frame in truth[split].sequence(row)]
            for row in range(len(truth[split]))
        ]
        for split in ("train", "valid", "test")
    }
    (tmp_path / "jsb_chorales.pickle").write_bytes(pickle.dumps(pieces))
    read = JSB.load(tmp_path / "jsb_chorales.pickle")
    assert read.train.x.equal(truth.train.x)
    assert read.test.lengths.tolist() == truth.test.lengths.tolist()
