"""A folder of recordings from the command line: fit, evaluate, sample, forecast, report."""

import json

import numpy as np
import pytest
from scipy.io import wavfile

from sounds import folder_of, tone, write

FIT = ("--model", "ar", "--set", "data.frame_size=50", "--steps", 3, "--out", "run")


@pytest.fixture
def fit(here, cli):
    folder_of(here / "talk", 6)
    said = cli("fit", "--data", "talk", *FIT)
    assert said.code == 0
    return said


def test_sound_is_fitted_sampled_and_evaluated(here, cli, fit, without_drawing):
    assert "50 features (samples at 8000 Hz, 6.25 ms per frame)" in fit.err
    assert "log-densities are of standardised samples" in fit.err
    said = cli("sample", "run", "--num", 2, "--length", 7, "--out", "a.wav", "--out", "a.png")
    assert said.out.split() == ["a-001.wav", "a-002.wav", "a.png"]
    assert wavfile.read("a-002.wav")[1].shape == (350,)
    said = cli("predict", "run", "--horizon", 3, "--out", "b.wav")
    assert said.code == 0
    write(here / "new" / "one.wav", tone(640))
    found = json.loads(cli("evaluate", "run", "--data", "new", "--json").out)
    assert found["split"] == "new"
    assert np.isfinite(found["nats_per_frame"])
    assert cli("sample", "run", "--data", "new/one.wav", "--prefix", 2, "--out", "c.wav").code == 0
    refused = cli("sample", "run", "--out", "talk/more.wav")
    assert (refused.code, "is data used by this command" in refused.err) == (2, True)
    assert cli("report", "run", "--no-check").code == 0
    page = (here / "run" / "report.html").read_text()
    assert page.count("data:audio/wav;base64,") == 3 + 1 + 3


def test_a_folder_that_has_moved_is_recognised(here, cli, fit):
    (here / "talk").rename(here / "moved")
    assert "is needed here" in cli("evaluate", "run").err
    said = cli("evaluate", "run", "--data", "moved", "--json")
    assert json.loads(said.out)["split"] == "test"


def test_files_that_cannot_be_used(here, cli):
    folder_of(here / "talk", 6)
    (here / "talk" / "broken.wav").write_bytes(b"RIFF")
    write(here / "talk" / "stereo.wav", np.stack([tone(800)] * 2, 1))
    write(here / "talk" / "fast.wav", tone(800), rate=16_000)
    said = cli("fit", "--data", "talk", *FIT)
    assert said.code == 3
    assert "3 of 9 files in 'talk' cannot be used: broken.wav: it is not" in said.err.replace(
        str(here) + "/", ""
    )
    assert not (here / "run").exists()
    assert cli("data", "inspect", "talk").code == 3
    said = cli("fit", "--data", "talk", *FIT, "--set", "data.unusable=skip")
    assert (said.code, "3 of 9 files are left out" in said.err) == (0, True)
