"""What a name stands for: every option of every part has a meaning."""

from __future__ import annotations

import pytest

from pyrodgm.errors import UsageError
from pyrodgm.models import MODELS
from pyrodgm.setup.config import resolve
from pyrodgm.setup.describe import describe
from pyrodgm.setup.options import FitOptions
from pyrodgm.setup.registry import REGISTRIES

NAMES = sorted({name for registry in REGISTRIES.values() for name in registry})


@pytest.mark.parametrize("name", [*NAMES, "fit"])
def test_every_option_has_a_meaning(name):
    for found in describe(name):
        assert found.summary.endswith(".")
        assert not [option.name for option in found.options if not option.meaning]


def test_a_name_stands_for_something_in_every_group_that_has_it():
    assert [found.group for found in describe("vae")] == ["model", "guide"]


def test_options_of_a_base_class_are_described_too():
    (found,) = describe("wgan")
    meaning = {option.name: option.meaning for option in found.options}
    assert meaning["critic_steps"]
    assert found.training["lr"] == 0.001


def test_every_word_that_an_option_may_be_is_named():
    named = {
        (name, option.name): option.meaning
        for name in NAMES
        for found in describe(name)
        for option in found.options
    }
    assert '"gaussian-mixture"' in named["vae", "emission"]
    assert '"darn"' in named["hmsbn", "emission"]
    assert '"darn"' not in named["hmm", "emission"]  # which has no such emission
    assert '"reverse-kl"' in named["avb", "divergence"]
    assert named["tsbn", "emission"].count("One of") == 0  # its documentation names all of them


def test_defaults_of_training_are_those_of_a_fit():
    for name in MODELS:
        found = describe(name)[0]
        config = resolve({"model": {"name": name}})
        assert found.training.items() <= config.fit.to_dict().items()
        usual = FitOptions().to_dict()
        changed = {key for key, value in config.fit.to_dict().items() if value != usual[key]}
        assert changed <= found.training.keys(), name


def test_what_fits_is_what_can_be_trained():
    vq, rws = describe("vq")[0], describe("rws")[0]
    assert vq.fits == ("vae latents=codebook",)
    assert "tsbn" in rws.fits
    assert "rbm" not in rws.fits
    assert "fivo" in describe("tsbn")[0].fits


OWN = '''
from pyrodgm.models import TSBN

class Mine(TSBN):
    """A network of one's own.

    Args:
        width: of the window,
            in frames.
    """

    def __init__(self, info, *, width: int, **options) -> None:
        super().__init__(info, **options)

class Neither:
    pass
'''


def test_a_class_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (found,) = describe(f"{tmp_path / 'own.py'}:Mine")
    assert (found.group, found.summary) == ("model", "A network of one's own.")
    (option,) = found.options
    assert option.required
    assert option.meaning == "of the window, in frames."
    assert "rws" in found.fits
    with pytest.raises(UsageError, match="Neither is not a model"):
        describe(f"{tmp_path / 'own.py'}:Neither")


def test_an_unknown_name_has_a_hint():
    with pytest.raises(UsageError, match="did you mean 'rloo'"):
        describe("rlo")
