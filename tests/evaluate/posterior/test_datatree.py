import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.distributions import BernoulliVector
from pyrodgm.errors import UsageError
from pyrodgm.evaluate import passes as chunks
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.evaluate.posterior import kept, predictive
from pyrodgm.evaluate.posterior.datatree import (
    compact_tree,
    to_datatree,
    write_netcdf,
)
from pyrodgm.evaluate.work import Work
from pyrodgm.guides import NoGuide, RecurrentBernoulli
from pyrodgm.models import MODELS, TSBN

LENGTHS = np.array([4, 1, 6, 3])
DIM, HIDDEN, DRAWS = 3, 3, 7


def splits(kind="binary", **facts):
    x = np.random.default_rng(0).random((LENGTHS.sum(), DIM))
    x = (x > 0.5).astype(np.uint8) if kind == "binary" else x.astype(np.float32)
    part = Sequences(x, LENGTHS)
    return Splits.of("toy", kind, {"train": part, "valid": part, "test": part}, **facts)


def pair(data):
    torch.manual_seed(0)
    model = TSBN(data.info, hidden_dim=HIDDEN, init_scale=1.0)
    return model, RecurrentBernoulli(model, init_scale=1.0)


@pytest.fixture(scope="module")
def data():
    return splits(lowest_pitch=60)


@pytest.fixture(scope="module")
def tree(data):
    return to_datatree(*pair(data), data, draws=DRAWS)


def values(tree, group, name):
    return tree[group].to_dataset()[name].values


def test_every_dimension_has_a_name_and_coordinates(tree):
    frames = ("chain", "draw", "sequence", "time")
    expected = {
        "posterior": {"z": (*frames, "z_dim")},
        "posterior_predictive": {"x": (*frames, "x_dim")},
        "log_likelihood": {"x": frames},
        "sample_stats": dict.fromkeys(("log_p", "log_q", "log_w"), frames[:3]) | {"lp": frames[:2]},
        "observed_data": {"x": ("sequence", "time", "x_dim")},
        "constant_data": {"length": ("sequence",), "mask": ("sequence", "time")},
    }
    found = {
        group.name: {name: array.dims for name, array in group.data_vars.items()}
        for group in tree.leaves
    }
    assert found == expected
    for group in tree.leaves:
        assert set(group.to_dataset().coords) == set(group.to_dataset().dims)
    assert tree["observed_data"].to_dataset()["x_dim"].values.tolist() == [60, 61, 62]


def test_values_are_compact_and_padding_is_blank(tree):
    mask = values(tree, "constant_data", "mask")
    assert mask.sum(1).tolist() == LENGTHS.tolist()
    for group, name in (("posterior", "z"), ("posterior_predictive", "x")):
        kept = values(tree, group, name)
        assert set(np.unique(kept[:, :, mask])) == {0, 1}
        assert np.isnan(kept[:, :, ~mask]).all()
    log_likelihood = values(tree, "log_likelihood", "x")
    assert np.isnan(log_likelihood).all((0, 1)).tolist() == (~mask).tolist()


def test_a_file_takes_a_byte_a_bit_and_reads_as_the_tree(data, tree, tmp_path):
    given = {"split": "test", "draws": DRAWS, "seed": 0}
    compact = compact_tree(*pair(data), data, **given)
    assert values(compact, "posterior", "z").dtype == np.int8
    write_netcdf(compact, tmp_path / "a.nc")
    with xr.open_datatree(tmp_path / "a.nc", engine="h5netcdf") as read:
        for group, name in (
            ("posterior", "z"),
            ("posterior_predictive", "x"),
            ("observed_data", "x"),
        ):
            np.testing.assert_array_equal(values(read, group, name), values(tree, group, name))


def test_without_padding_a_bit_takes_a_byte():
    even = Sequences(np.eye(4, dtype=np.uint8), np.array([2, 2]))
    bits = Splits.of("even", "binary", dict.fromkeys(("train", "valid", "test"), even))
    tree = to_datatree(*pair(bits), bits, draws=2)
    assert values(tree, "posterior", "z").dtype == np.int8


def test_grey_values_and_their_padding():
    grey = splits("unit")
    tree = to_datatree(*pair(grey), grey, draws=2)
    mask = values(tree, "constant_data", "mask")
    assert set(np.unique(values(tree, "posterior_predictive", "x")[:, :, mask])) <= {0, 1}
    observed = values(tree, "observed_data", "x")
    assert np.isnan(observed[~mask]).all()
    assert np.array_equal(observed[mask], grey.test.x.numpy())


def test_what_was_not_observed_is_blank_in_the_observed_data():
    grey = splits("unit")
    x = grey.test.x.numpy().copy()
    x[2, 1] = np.nan
    part = Sequences(x, grey.test.lengths)
    gaps = Splits.of("gaps", "unit", dict.fromkeys(("train", "valid", "test"), part))
    tree = to_datatree(*pair(gaps), gaps, draws=2)
    mask = values(tree, "constant_data", "mask")
    np.testing.assert_array_equal(values(tree, "observed_data", "x")[mask], x)


def test_log_likelihood_is_that_of_the_frame_given_latents_and_past(data, tree):
    model, _ = pair(data)
    batch = data.test.batch(range(4))
    z = torch.from_numpy(values(tree, "posterior", "z")[0]).float()
    past = torch.nn.functional.pad(batch.x, (0, 0, 1, 0))[:, :-1]
    with torch.no_grad():
        bias = torch.stack([model.x_bias(torch.tensor(t)) for t in range(6)])
        logits = model.x_from_z(z) + model.x_from_x(past) + bias
        expected = BernoulliVector(logits).log_prob(batch.x)
    found = values(tree, "log_likelihood", "x")[0]
    mask = batch.mask.numpy()
    assert found[:, mask] == pytest.approx(expected.numpy()[:, mask], abs=1e-5)


def test_sample_stats_fit_together(tree):
    stats = {name: values(tree, "sample_stats", name) for name in ("log_p", "log_q", "log_w", "lp")}
    assert stats["log_w"] == pytest.approx(stats["log_p"] - stats["log_q"])
    assert stats["lp"] == pytest.approx(stats["log_p"].sum(-1))
    assert (stats["log_q"] <= 0).all()


def test_replicates_go_on_from_the_observed_past(data):
    model, guide = pair(data)
    with torch.no_grad():  # a frame repeats the one before it, whatever the latents are
        model.x_from_z.weight.zero_()
        model.x_from_x.weight.copy_(80 * torch.eye(DIM))
        for bias in model.x_bias.parameters():
            bias.fill_(-40)
    tree = to_datatree(model, guide, data, draws=3)
    replicate, observed = (values(tree, g, "x") for g in ("posterior_predictive", "observed_data"))
    mask = values(tree, "constant_data", "mask")
    for row in range(4):
        length = int(mask[row].sum())
        assert (replicate[0, :, row, 1:length] == observed[row, : length - 1]).all()
        assert not replicate[0, :, row, 0].any()


def test_replicates_follow_the_latents_of_their_draw(data):
    model, guide = pair(data)
    with torch.no_grad():
        model.x_from_z.weight.copy_(80 * torch.eye(DIM))
        model.x_from_x.weight.zero_()
        for bias in model.x_bias.parameters():
            bias.fill_(-40)
    tree = to_datatree(model, guide, data, draws=3)
    same = values(tree, "posterior_predictive", "x") == values(tree, "posterior", "z")
    assert same[:, :, values(tree, "constant_data", "mask")].all()


def test_draws_depend_on_the_seed_alone(data, tree):
    model, guide = pair(data)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = to_datatree(model, guide, data, draws=DRAWS)
    assert torch.equal(torch.get_rng_state(), before)
    other = to_datatree(*pair(data), data, draws=DRAWS, seed=1)
    first, second, third = (values(each, "posterior", "z") for each in (tree, again, other))
    assert np.array_equal(first, second, equal_nan=True)
    assert not np.array_equal(first, third, equal_nan=True)


def test_many_small_parts_fill_every_place(data, monkeypatch):
    monkeypatch.setattr(chunks, "FRAMES_AT_ONCE", 8)
    tree = to_datatree(*pair(data), data, draws=DRAWS)
    mask = values(tree, "constant_data", "mask")
    assert np.isfinite(values(tree, "log_likelihood", "x")[:, :, mask]).all()
    assert np.isfinite(values(tree, "sample_stats", "log_w")).all()


def test_netcdf_opens_in_arviz_and_xarray_with_the_same_values(tree, tmp_path):
    arviz = pytest.importorskip("arviz")
    path = tmp_path / "posterior.nc"
    write_netcdf(tree, path)
    assert [file.name for file in tmp_path.iterdir()] == ["posterior.nc"]
    opened = xr.open_datatree(path, engine="h5netcdf")
    for group in tree.leaves:
        xr.testing.assert_equal(opened[group.name].to_dataset(), group.to_dataset())
    assert opened.attrs["model"] == "TSBN"
    legacy = arviz.from_netcdf(path)
    assert legacy["posterior"]["z"].dims == ("chain", "draw", "sequence", "time", "z_dim")
    assert legacy["sample_stats"]["log_w"].shape == (1, DRAWS, 4)


def test_attributes_are_plain(tree):
    """No None and no bool, which netCDF has no form for; arviz 1.x adds a list of names."""
    for group in tree.subtree:
        for value in group.attrs.values():
            parts = value if isinstance(value, list) else [value]
            assert all(type(part) in (str, int, float) for part in parts)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tree, tmp_path, monkeypatch):
    path = tmp_path / "posterior.nc"
    path.write_text("old")

    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises(UsageError, match="No space left"):
        write_netcdf(tree, path)
    assert path.read_text() == "old"
    with pytest.raises(UsageError, match="there is no folder"):
        write_netcdf(tree, tmp_path / "missing" / "posterior.nc")


def test_too_many_draws_are_refused_before_they_are_made(data):
    model, guide = pair(data)
    most = kept.MAX_BYTES // (4 * len(LENGTHS) * LENGTHS.max() * (DIM + HIDDEN + 4))
    with pytest.raises(UsageError, match=f"at most {most} draws"):
        to_datatree(model, guide, data, draws=most + 1)
    with pytest.raises(UsageError, match="at least 1"):
        to_datatree(model, guide, data, draws=0)


def counted(total):
    """Frames of so many tokens of three kinds, and a model that knows their distribution."""
    probabilities = np.array([0.7, 0.2, 0.1])
    x = np.random.default_rng(0).multinomial(total, probabilities, LENGTHS.sum()).astype(np.float32)
    part = Sequences(x, LENGTHS)
    data = Splits.of("tokens", "count", dict.fromkeys(("train", "valid", "test"), part))
    model, guide = pair(data)
    with torch.no_grad():
        for parameter in (*model.parameters(), *guide.parameters()):
            parameter.zero_()
        for bias in model.x_bias.parameters():
            bias.copy_(torch.tensor(probabilities).log())
    return data, model, guide


@pytest.mark.parametrize("total", [100, 40_000])
def test_large_counts_are_replicated_as_they_are(total, tmp_path):
    data, model, guide = counted(total)
    given = {"split": "test", "draws": 50, "seed": 0}
    compact = compact_tree(model, guide, data, **given)
    write_netcdf(compact, tmp_path / "counts.nc")
    with xr.open_datatree(tmp_path / "counts.nc", engine="h5netcdf") as read:
        for tree in (to_datatree(model, guide, data, **given), read):
            x = values(tree, "posterior_predictive", "x")
            mask = values(tree, "constant_data", "mask").astype(bool)
            assert (x[:, :, mask].sum(-1) == total).all()
            assert (x[:, :, mask] >= 0).all()
            assert np.isnan(x[:, :, ~mask]).all()
    replicates = predictive.posterior_replicates(compact, data)
    p = predictive.p_values(predictive.observed(data, "test", draws=50), replicates)
    assert p[predictive.FEATURE_MEANS] == 0


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, model in MODELS.items()
        if (model.traits.latents, model.traits.density) == ("none", "normalised")
    ],
)
def test_models_without_latents_have_no_posterior_and_an_exact_likelihood(name, tmp_path):
    data = splits("real" if name == "lds" else "binary")
    torch.manual_seed(0)
    model = MODELS[name](data.info)
    guide = NoGuide(model)
    tree = to_datatree(model, guide, data, draws=DRAWS)
    assert "posterior" not in tree.children
    mask = values(tree, "constant_data", "mask")
    nats = np.nansum(values(tree, "log_likelihood", "x")[0], -1)
    exact, _ = sequence_bounds(model, guide, data.test)
    assert nats == pytest.approx(np.tile(exact, (DRAWS, 1)), rel=1e-5)
    assert (values(tree, "sample_stats", "log_q") == 0).all()
    x = values(tree, "posterior_predictive", "x")
    assert x.shape == (1, DRAWS, 4, 6, DIM)
    assert (np.isnan(x).any((0, 1, 4)) == ~mask).all()
    path = tmp_path / "posterior.nc"
    write_netcdf(tree, path)
    opened = pytest.importorskip("arviz").from_netcdf(path)
    np.testing.assert_array_equal(opened["posterior_predictive"]["x"].values, x)


def test_a_flat_tree_is_the_same_without_padding(data, tree, tmp_path):
    flat = to_datatree(*pair(data), data, draws=DRAWS, flat=True)
    mask = values(tree, "constant_data", "mask")
    for group, name in (("posterior", "z"), ("posterior_predictive", "x"), ("log_likelihood", "x")):
        found = flat[group].to_dataset()[name]
        assert found.dims[:3] == ("chain", "draw", "frame")
        np.testing.assert_array_equal(found.values, values(tree, group, name)[:, :, mask])
        assert found["sequence"].values.tolist() == np.repeat(np.arange(4), LENGTHS).tolist()
        assert found["time"].values.tolist() == [t for length in LENGTHS for t in range(length)]
    observed = flat["observed_data"].to_dataset()["x"]
    np.testing.assert_array_equal(observed.values, values(tree, "observed_data", "x")[mask])
    np.testing.assert_array_equal(
        values(flat, "sample_stats", "log_w"), values(tree, "sample_stats", "log_w")
    )
    write_netcdf(flat, tmp_path / "flat.nc")
    with xr.open_datatree(tmp_path / "flat.nc", engine="h5netcdf") as read:
        z = read["posterior"].to_dataset()["z"].set_index(frame=["sequence", "time"])
        again = z.unstack("frame").transpose("chain", "draw", "sequence", "time", "z_dim")
        np.testing.assert_array_equal(again.values, values(tree, "posterior", "z"))


def test_a_tree_of_some_sequences_says_which(data):
    rows = np.array([1, 3])
    for flat in (False, True):
        given = {"split": "test", "rows": rows, "draws": 2, "seed": 0, "flat": flat}
        some = compact_tree(*pair(data), data, **given)
        lengths = some["constant_data"].to_dataset()["length"]
        assert lengths["sequence"].values.tolist() == [1, 3]
        assert lengths.values.tolist() == LENGTHS[rows].tolist()


def test_one_long_sequence_among_many_takes_no_padding():
    """Padded, the draws alone would be 10 x 1001 x 4000 x 10 bytes, 400 MB."""
    lengths = np.array([*[2] * 1000, 4000])
    x = np.random.default_rng(0).random((lengths.sum(), DIM)) < 0.5
    part = Sequences(x.astype(np.uint8), lengths)
    ragged = Splits.of("ragged", "binary", dict.fromkeys(("train", "valid", "test"), part))
    model, guide = pair(ragged)
    chosen = kept.affordable(model, ragged, "test", 10, Work(0, 0))
    assert chosen.flat
    assert len(chosen.rows) == 1001
    tracemalloc.start()
    tree = compact_tree(
        model, guide, ragged, split="test", rows=chosen.rows, draws=10, seed=0, flat=True
    )
    drawn = predictive.posterior_replicates(tree, ragged)
    data = predictive.observed(ragged, "test")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * 2**20
    expected = x[:2000].reshape(1000, 2, DIM).mean((1, 2))
    assert data.values["activity"][0, :1000] == pytest.approx(expected)
    replicate = tree["posterior_predictive"].to_dataset()["x"].values[0]
    expected = replicate[:, 2000:].mean((1, 2))
    assert drawn.values["activity"][:, 1000] == pytest.approx(expected, rel=1e-5)


def test_models_without_a_density_are_refused_in_words(data):
    model = MODELS["rbm"](data.info)
    with pytest.raises(UsageError, match="RBM has no density"):
        to_datatree(model, NoGuide(model), data, draws=DRAWS)
