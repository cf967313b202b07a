"""The report is one file: nothing is fetched, everything is escaped, and it says what was found."""

import base64
import io
import json
import re
from contextlib import nullcontext
from html.parser import HTMLParser

import mido
import numpy as np
import pytest
from PIL import Image

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.report import facts, write_report
from pyrodgm.report.blocks import Page, Section, Text
from pyrodgm.report.page import render
from pyrodgm.runs.check import check
from pyrodgm.tables import Column, Table
from tiny import blank_figures

VOID = {"meta", "link", "img"}


class Reader(HTMLParser):
    """What a page refers to, its headings, and whether its tags close."""

    def __init__(self, text):
        super().__init__()
        self.references, self.headings, self.open, self.anchors = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.references += [named[key] for key in ("src", "href") if key in named]
        self.anchors.add(named.get("id"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (["h1"], ["h2"]):
            self.headings.append(data)

    def contents(self, mime):
        """The files of a kind inside the page."""
        start = f"data:{mime};base64,"
        found = [uri for uri in self.references if uri.startswith(start)]
        return [base64.b64decode(uri.removeprefix(start)) for uri in found]


def splits(kind, length=12, **facts):
    rng = np.random.default_rng(0)
    lengths = np.array([length, max(1, length // 2), length])
    values = {
        "binary": lambda: (rng.random((lengths.sum(), 6)) < 0.4).astype(np.uint8),
        "unit": lambda: rng.random((lengths.sum(), 6), np.float32),
        "real": lambda: rng.normal(size=(lengths.sum(), 6)).astype(np.float32),
    }[kind]
    parts = {name: Sequences(values(), lengths) for name in ("train", "valid", "test")}
    return Splits.of("toy", kind, parts, **facts)


def corpus():
    """Sixty words over eight years, the last of which is not seen."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (8, 60)).astype(np.float32)
    seen = np.concatenate([counts[:-1], np.full((1, 60), np.nan, np.float32)])
    train = Sequences(counts[:-1], np.array([7]))
    test = Sequences(seen, np.array([8]), held_out=rng.poisson(1.0, (8, 60)).astype(np.float32))
    return Splits.of(
        "speeches",
        "count",
        {"train": train, "valid": train, "test": test},
        words=tuple(f"word{number}" for number in range(60)),
        frame_labels=tuple(str(1790 + year) for year in range(8)),
    )


def fit(splits, folder, model=dgm.models.TSBN):
    p = model(splits.info, hidden_dim=3)
    q = dgm.guides.RecurrentBernoulli(p)
    objective = dgm.objectives.LocalRLOO(p, q)
    return dgm.fit(objective, splits, steps=60, evaluate_every=20, out=folder / "toy")


DATA = {
    "music": lambda: splits("binary", lowest_pitch=60),
    "videos": lambda: splits("unit", image_shape=(2, 3)),
    "motion": lambda: splits("real"),
    "words": corpus,
}
ALWAYS = ["What was fitted", "Results", "Learning"]
LATENT = ["Activity of the latents"]
END = ["Can it be trusted?", "Configuration", "Environment"]
FRAMES = ["Prediction", "Samples", "Weights of the latents"]
SECTIONS = dict.fromkeys(("music", "videos", "motion"), FRAMES)
SECTIONS["words"] = ["Prediction", "Prediction of words", "Topics"]


@pytest.fixture(scope="module", params=DATA)
def shown(request, tmp_path_factory):
    """A run on each kind of data, checked, and its report."""
    run = fit(DATA[request.param](), tmp_path_factory.mktemp("report"))
    with nullcontext() if request.param == "music" else blank_figures():
        check(run, draws=50, posterior_draws=10)
    with blank_figures() if request.param in ("motion", "words") else nullcontext():
        path = write_report(run)
    return request.param, run, path, Reader(path.read_text())


def test_it_lies_in_the_run_folder_and_fetches_nothing(shown):
    _, run, path, page = shown
    assert path == run.folder.path / "report.html"
    inside = [uri for uri in page.references if uri.startswith("#")]
    assert all(uri.startswith("data:") for uri in page.references if uri not in inside)
    assert {uri[1:] for uri in inside} <= page.anchors
    text = path.read_text()
    assert not re.search(r"<script|@import|url\(|https?://", text)
    assert "default-src 'none'" in text
    assert page.open == []


def test_every_kind_of_data_has_its_sections(shown):
    name, _, _, page = shown
    title, *sections = page.headings
    assert title == "TSBN on " + ("speeches" if name == "words" else "toy")
    assert sections == [*ALWAYS, *SECTIONS[name], *LATENT, *END]


def test_pictures_open(shown):
    name, _, _, page = shown
    pictures = page.contents("image/png")
    assert len(pictures) == {"music": 8, "videos": 7, "motion": 8, "words": 6}[name]
    for content in pictures:
        with Image.open(io.BytesIO(content)) as image:
            assert image.width > 500 or (name != "music" and image.size == (1, 1))
            image.load()


def test_videos_move_and_music_plays(shown):
    name, run, _, page = shown
    videos, songs = page.contents("image/gif"), page.contents("audio/midi")
    assert (len(videos), len(songs)) == {"videos": (2, 0), "music": (0, 5)}.get(name, (0, 0))
    for content in videos:
        with Image.open(io.BytesIO(content)) as video:
            assert video.n_frames == (12 if video.width > 300 else 10)
    if songs:
        observed = mido.MidiFile(file=io.BytesIO(songs[0]))
        notes = [m.note - 60 for m in observed.tracks[0] if m.type == "note_on" and m.time == 0]
        first = run.splits.test.sequence(0)[0].nonzero().flatten().tolist()
        assert notes[: len(first)] == first


def test_numbers_of_the_run_are_on_the_page(shown):
    name, run, path, _ = shown
    text = path.read_text()
    results = run.results()
    assert f"{results.test.nats_per_frame:.3f}" in text
    assert f"{results.valid.nats_per_frame_sequence_weighted:.3f}" in text
    for floor in results.test_trivial.values():
        assert f"{floor.nats_per_frame:.3f}" in text
    found = json.loads((run.folder.path / "check.json").read_text())
    assert found["verdict"].replace(">", "&gt;").replace("'", "&#39;") in text
    assert f"{run.predict(samples=20)['filtered'].squared_error:.3f}" in text
    if name == "words":
        assert len(re.findall(r"<td>(word\d+, ){9}word\d+</td>", text)) == 3 * 3
        assert "words of the frame before" in text


@pytest.fixture
def music(tmp_path):
    return fit(DATA["music"](), tmp_path)


@pytest.mark.usefixtures("without_drawing")
def test_a_check_of_the_same_weights_and_split_is_not_made_again(music, monkeypatch):
    monkeypatch.setattr(
        facts,
        "check",
        lambda run, split, out: check(run, split=split, draws=40, posterior_draws=10, out=out),
    )
    check(music, draws=30, posterior_draws=10)
    assert facts.checked(music, "test", music.folder.path)[0]["draws"] == 30
    monkeypatch.setattr(music, "checkpoint", "step-00000099")
    assert facts.checked(music, "test", music.folder.path)[0]["draws"] == 40
    assert facts.checked(music, "valid", music.folder.path)[0]["split"] == "valid"


def test_a_page_never_takes_the_place_of_a_part_of_the_run(music):
    path = music.folder.path
    weights = music.folder.best().relative_to(path) / "weights.safetensors"
    for part in ("config.toml", "environment.json", "metrics.jsonl", "best", weights):
        before = (path / part).read_bytes()
        with pytest.raises(UsageError, match="which needs it"):
            write_report(music, path / "checkpoints" / ".." / part, with_check=False)
        assert (path / part).read_bytes() == before


@pytest.mark.usefixtures("without_drawing")
def test_without_a_check_nothing_is_said_of_trust(music, tmp_path):
    path = write_report(music, tmp_path / "page.html", with_check=False)
    page = Reader(path.read_text())
    assert "Can it be trusted?" not in page.headings
    assert "can be trusted" not in path.read_text()
    assert not (music.folder.path / "check.json").exists()


def test_the_same_seed_gives_the_same_page(music, tmp_path):
    one, two = (
        write_report(music, tmp_path / name, with_check=False) for name in ("a.html", "b.html")
    )
    assert one.read_text() == two.read_text()


def test_what_is_wrong_is_told_before_the_work(music, tmp_path, monkeypatch):
    monkeypatch.setattr(type(music), "results", None)
    with pytest.raises(UsageError, match="there is no folder"):
        write_report(music, tmp_path / "missing" / "a.html")
    with pytest.raises(UsageError, match="unknown split 'tset'"):
        write_report(music, tmp_path / "a.html", split="tset")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.usefixtures("without_drawing")
def test_rows_without_time_have_samples_and_no_prediction(tmp_path):
    data = splits("binary", length=1, image_shape=(2, 3))
    p = dgm.models.SBN(data.info, hidden_dim=3)
    q = dgm.guides.LayeredBernoulli(p)
    run = dgm.fit(dgm.objectives.RLOO(p, q), data, steps=5, out=tmp_path / "toy")
    page = Reader(write_report(run, with_check=False).read_text())
    assert "Samples" in page.headings
    assert "Prediction" not in page.headings


@pytest.mark.usefixtures("without_drawing")
def test_chains_start_at_every_row_of_a_short_split(tmp_path):
    data = splits("binary", length=1, image_shape=(2, 3))
    p = dgm.models.RBM(data.info, hidden_dim=3)
    objective = dgm.objectives.PCD(p, dgm.guides.NoGuide(p))
    run = dgm.fit(objective, data, steps=5, out=tmp_path / "toy")
    assert {"Filters", "Chains"} < set(Reader(write_report(run).read_text()).headings)


@pytest.mark.usefixtures("without_drawing")
def test_a_model_without_latents_says_nothing_of_them(tmp_path):
    data = splits("real")
    p = dgm.models.AR(data.info)
    objective = dgm.objectives.ML(p, dgm.guides.NoGuide(p))
    run = dgm.fit(objective, data, steps=5, out=tmp_path / "toy")
    path = write_report(run, with_check=False)
    assert Reader(path.read_text()).headings[-3:] == ["Samples", "Configuration", "Environment"]
    assert "exact log-likelihood" in path.read_text()


@pytest.mark.usefixtures("without_drawing")
def test_words_of_a_model_whose_latents_have_none(tmp_path):
    data = corpus()
    p = dgm.models.DTSBND(data.info, hidden_dim=3, layer_dim=4)
    q = dgm.guides.RecurrentDeterministic(p, layer_dim=4)
    run = dgm.fit(dgm.objectives.LocalRLOO(p, q), data, steps=5, out=tmp_path / "toy")
    headings = Reader(write_report(run, with_check=False).read_text()).headings
    assert "Prediction of words" in headings
    assert "Topics" not in headings


def test_whatever_is_shown_is_escaped():
    evil = "<script>alert('&')</script>"
    blocks = [Text(evil), Table([Column(evil)], [[evil]], title=evil, notes=[evil])]
    page = render(Page(evil, evil, [(evil, evil)], [Section(evil, blocks)]))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 12


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("latents", ["categorical", "codebook"])
@pytest.mark.filterwarnings("ignore::pyrodgm.errors.CodebookWarning")
def test_classes_have_a_section(tmp_path, latents):
    data = splits("binary", length=1)
    p = dgm.models.VAE(data.info, latents=latents, latent_dim=2, classes=3, hidden_dim=4)
    if latents == "codebook":
        objective = dgm.objectives.VQ(p, dgm.guides.NearestCode(p, hidden_dim=4), revive=False)
    else:
        objective = dgm.objectives.RLOO(p, dgm.guides.Factorised(p, hidden_dim=4))
    run = dgm.fit(objective, data, steps=5, out=tmp_path / "toy")
    page = Reader((path := write_report(run)).read_text())
    assert "Classes of the latents" in page.headings
    text = path.read_text()
    assert "mutual information" in text.lower()
    assert ("nearest codes of every row" in text) == (latents == "codebook")
