import sys
import textwrap

import pytest

from pyrodgm.errors import ConfigError, UsageError
from pyrodgm.schema import schema
from pyrodgm.setup import registry
from pyrodgm.setup.config import resolve
from pyrodgm.setup.userfile import place

OWN = """
from __future__ import annotations
from typing import Literal
from pyrodgm.models import Model, ModelTraits
from pyrodgm.objectives import Objective

class Mine(Model):
    traits = ModelTraits(latents="binary", sequential=True)
    def __init__(self, info, *, size: int = 2, word: Literal["a", "b"] = "a", free=None):
        super().__init__(info)
    def forward(self, batch):
        return 1 / 0

class Halfway(Model):
    traits = ModelTraits(latents="binary", sequential=True)

class NoTraits(Model):
    def forward(self, batch): ...

class Odd(Mine):
    def __init__(self, info, *, size: Missing = 2): ...
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def refusal(kind, name):
    with pytest.raises(UsageError) as caught:
        registry.find(kind, str(name))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["model", "guide", "objective", "data"])
def test_every_registered_name_is_found_and_has_options_that_can_be_read(kind):
    for name, entry in registry.REGISTRIES[kind].items():
        assert registry.find(kind, name) is entry
        schema(entry)
        assert entry.__doc__


def test_an_unknown_name_gets_a_hint():
    assert "did you mean 'tsbn'?" in refusal("model", "tsbm")
    assert "path/to/file.py:ClassName" in refusal("guide", "zzz")


def test_a_class_of_a_users_file_is_found_once(own, monkeypatch):
    found = registry.find("model", f"{own}:Mine")
    monkeypatch.chdir(own.parent)
    assert registry.find("model", "own.py:Mine") is found
    assert set(schema(found)) == {"size", "word", "free"}
    assert registry.absolute("model", "own.py:Mine") == f"{own}:Mine"


def test_an_edited_file_is_read_again(own):
    before = registry.find("model", f"{own}:Mine")
    own.write_text(OWN.replace("size: int = 2", "size: int = 3"))
    import os

    os.utime(own, ns=(1, 1))
    after = registry.find("model", f"{own}:Mine")
    assert (schema(before)["size"].default, schema(after)["size"].default) == (2, 3)


def test_files_of_the_same_name_do_not_meet(own, tmp_path):
    other = tmp_path / "other" / "own.py"
    other.parent.mkdir()
    other.write_text(OWN)
    classes = [registry.find("model", f"{path}:Mine") for path in (own, other)]
    assert classes[0].__module__ != classes[1].__module__
    assert all(sys.modules[c.__module__].Mine is c for c in classes)


def test_a_file_may_import_its_neighbour(own):
    (own.parent / "neighbour_of_own.py").write_text("SIZE = 5")
    own.write_text(f"{OWN}\nfrom neighbour_of_own import SIZE\n")
    path = list(sys.path)
    assert sys.modules[registry.find("model", f"{own}:Mine").__module__].SIZE == 5
    assert sys.path == path
    del sys.modules["neighbour_of_own"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Mime", "did you mean 'Mine'?"),
        ("Objective", "is not a model; derive it from pyrodgm.models.Model"),
        ("Halfway", "does not define forward"),
        ("NoTraits", "does not declare 'traits'"),
    ],
)
def test_classes_that_are_no_model_are_refused(own, name, part):
    assert part in refusal("model", f"{own}:{name}")


def test_a_missing_file_is_named(tmp_path):
    assert f"there is no file {tmp_path}/no.py" in refusal("model", f"{tmp_path}/no.py:Mine")


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("x = 1\ndef f(:\n", 2, "SyntaxError"),
        ("x = 1\n\ny = 1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError('a')\nf()\n", 2, "in f: KeyError: 'a'"),
        ("import nothing_of_that_name\n", 1, "No module named"),
        ("import sys\nsys.exit(0)\n", 2, "SystemExit"),
    ],
)
def test_an_error_in_a_users_file_says_where(own, text, line, part):
    own.write_text(text)
    message = refusal("model", f"{own}:Mine")
    assert f"{own}, line {line}" in message
    assert part in message


def test_an_option_with_an_annotation_from_nowhere_is_a_mistake(own):
    with pytest.raises(ConfigError, match=r"cannot read the options of Odd.*Missing"):
        resolve({"model": {"name": f"{own}:Odd"}})


def test_the_place_of_a_later_error_is_found(own):
    model = registry.find("model", f"{own}:Mine")(None)
    with pytest.raises(ZeroDivisionError) as caught:
        model(None)
    assert place(caught.value) == textwrap.dedent(f"""\
        {own}, line 12, in forward: ZeroDivisionError: division by zero
            return 1 / 0""")
    assert place(ValueError("elsewhere")) is None
