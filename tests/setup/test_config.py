import dataclasses
import tomllib

import pytest

from pyrodgm.data import ragged
from pyrodgm.errors import ConfigError
from pyrodgm.models import TSBN
from pyrodgm.objectives import NVIL
from pyrodgm.runs.fitting import fit_config
from pyrodgm.schema import schema
from pyrodgm.setup.config import fit_options, resolve, to_toml
from pyrodgm.setup.options import FitOptions
from pyrodgm.setup.settings import merge, parse_settings
from pyrodgm.storage.toml import read_toml


def refusal(values):
    with pytest.raises(ConfigError) as caught:
        resolve(values)
    return str(caught.value)


def test_a_model_brings_its_companions_and_all_defaults():
    config = resolve({"model": {"name": "tsbn"}})
    suggested = TSBN.companions
    assert (config.guide.name, config.objective.name) == (suggested.guide, suggested.objective)
    assert config.data.name == suggested.data
    assert config.fit == FitOptions(**suggested.fit)
    other = resolve({"objective": {"name": "rloo-local"}})
    assert other.fit == FitOptions()
    assert config.model.options["history"] == 1


def test_an_objective_over_observations_brings_its_noise_where_the_models_guide_does_not_fit():
    values = {"model": {"name": "random-field"}, "objective": {"name": "nce"}}
    assert resolve(values).guide.name == "marginals"
    assert resolve({**values, "guide": {"name": "nade"}}).guide.name == "nade"
    assert resolve({**values, "objective": {"name": "cd"}}).guide.name == "none"
    assert (
        resolve({"model": {"name": "rbm"}, "objective": {"name": "dnce"}}).guide.name == "marginals"
    )


def test_a_guide_has_options_of_its_own_alone():
    values = {"model": {"hidden_dim": 7, "init_scale": 0.1}, "guide": {"feedback": False}}
    options = resolve(values).guide.options
    assert options == {"history": None, "init_scale": 0.01, "feedback": False}
    said = refusal({"guide": {"hidden_dim": 7}})
    assert "guide.hidden_dim: no such option; known: feedback, history, init_scale" in said


def test_every_mistake_is_reported_at_once():
    message = refusal(
        {
            "modle": {"x": 1},
            "model": {"hiden_dim": 3, "history": 0},
            "objective": {"name": "nvill"},
            "data": {"source": "jbs"},
            "fit": {"step": 3, "lr": "fast", "device": "gpu"},
        }
    )
    for part in (
        "8 mistakes",
        "[modle]: no such group; did you mean 'model'?",
        "model.hiden_dim: no such option; did you mean 'hidden_dim'?",
        "model.history = 0: Input should be greater than or equal to 1",
        "unknown objective 'nvill'",
        "did you mean 'nvil'?",
        "unknown dataset 'jbs'; did you mean 'jsb'?",
        "fit.step: no such option; did you mean 'steps'?",
        "fit.lr = 'fast': Input should be a valid number",
        "fit.device = 'gpu': Input should be 'auto', 'cpu' or 'cuda'",
    ):
        assert part in message


def test_an_unknown_model_does_not_hide_other_mistakes():
    message = refusal({"model": {"name": "tsbm"}, "fit": {"step": 3}, "guide": {"name": "hmm"}})
    assert "unknown model 'tsbm'" in message
    assert "fit.step" in message
    assert "unknown guide 'hmm'" in message


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("model", "hidden_dim", True),
        ("model", "hidden_dim", 3.0),
        ("model", "hidden_dim", "3"),
        ("fit", "lr", float("nan")),
        ("fit", "lr", float("inf")),
        ("fit", "steps", [1]),
        ("objective", "signal", "past"),
        ("data", "frame_rate", "fast"),
        ("data", "image_shape", [1]),
    ],
)
def test_values_of_another_type_are_refused(group, key, value, tiny):
    values = {"objective": {"name": "nvil"}, "data": {"source": str(tiny)}}
    values.setdefault(group, {})[key] = value
    assert f"{group}.{key} = {value!r}" in refusal(values)


def test_a_list_is_a_tuple_and_a_whole_number_is_a_float(tiny):
    values = {"data": {"source": str(tiny), "image_shape": [2, 3]}, "fit": {"lr": 1}}
    config = resolve(values)
    assert config.data.options["image_shape"] == (2, 3)
    assert config.fit.lr == 1.0
    assert resolve(tomllib.loads(config.to_toml())) == config


def test_the_text_holds_everything_and_reads_back_the_same(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    config = resolve({"objective": {"name": "nvil"}, "data": {"source": tiny.name}})
    text = config.to_toml()
    assert resolve(tomllib.loads(text)) == config
    assert set(schema(NVIL)) < set(tomllib.loads(text)["objective"])
    assert tomllib.loads(text)["data"]["source"] == str(tiny)


def test_a_run_repeats_from_its_configuration_bit_for_bit(fitted, tmp_path):
    again = fit_config(resolve(read_toml(fitted / "config.toml")), tmp_path / "again")
    for name in ("weights.safetensors", "config.toml"):
        paths = [next(folder.rglob(f"{'*12/' if 'w' in name else ''}{name}")).read_bytes()
                 for folder in (fitted, again.folder.path)]  # fmt: skip
        assert paths[0] == paths[1]


def test_paths_among_the_options_of_data_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"model": {"name": "tsbn"}, "data": {"source": "jsb", "path": "mine.npz"}}
    assert resolve(values).data.options["path"] == str(tmp_path / "mine.npz")


def test_a_value_without_a_form_in_toml_is_named():
    with pytest.raises(ConfigError, match=r"model\.act = <object"):
        to_toml({"model": {"act": object()}})


def test_python_options_are_checked_like_any_other():
    assert fit_options({"steps": 5}) == dataclasses.replace(FitOptions(), steps=5)
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        fit_options({"step": 5})


def test_settings_are_toml_or_else_words():
    assert parse_settings(["a.b=1e-3", "a.c=true", "a.d=[1, 2]", "a.e=local", "f.g=x=y"]) == {
        "a": {"b": 1e-3, "c": True, "d": [1, 2], "e": "local"},
        "f": {"g": "x=y"},
    }


def test_settings_of_another_form_are_all_listed():
    with pytest.raises(ConfigError, match=r"(?s)--set lr=3: expected group\.key.*--set x: "):
        parse_settings(["lr=3", "x", "fit.lr=1", ".a=1", "a.=1"])


def test_later_layers_win():
    assert merge({"a": {"b": 1, "c": 2}}, {}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize(
    ("text", "part"),
    [("a = [", "not valid TOML"), ("steps = 5", "outside of any group"), ("\xff", "not valid")],
)
def test_a_damaged_file_is_named(tmp_path, text, part):
    path = tmp_path / "my.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=part) as caught:
        read_toml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_toml(tmp_path)


def test_options_come_from_functions_too():
    options = {"kind", "image_shape", "lowest_pitch", "frame_rate", "labels", "split_seed"}
    assert set(schema(ragged.read)) == options
