"""Training on chunks of sequences: weights, limits, kill and resume."""

import warnings

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from continuous import Recurrent, SharedGuide
from killing import Killed, Killer, assert_same_run
from pyrodgm.data.base import Splits
from pyrodgm.distributions import BernoulliVector
from pyrodgm.errors import ChunkWarning, CompatibilityError, UsageError
from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.objectives import Loss, Objective
from pyrodgm.setup.chunking import with_chunk
from pyrodgm.setup.dry_run import check_runs
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import check_devices, launch
from pyrodgm.train.loop import Training

SMALL = {"latent_dim": 2, "hidden_dim": 3, "feature_dim": 3}
OPTIONS = {"steps": 7, "evaluate_every": 3, "batch_size": 4, "device": "cpu", "chunk": 4}


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)
    lengths = np.array([11, 10, 10, 9, 3, 2])
    x = (rng.random((lengths.sum(), 3)) < 0.4).astype(np.float32)
    part = dgm.data.Sequences(x, lengths)
    return Splits.of("tiny", "binary", {"train": part, "valid": part, "test": part})


def vrnn(splits, kind=dgm.objectives.ELBO, **options):
    torch.manual_seed(0)
    model = dgm.models.VRNN(splits.info, **SMALL)
    return kind(model, dgm.guides.VRNNGuide(model), **options)


class Sums(Objective):
    """The mean over sequences of the sum of what is observed."""

    needs = dgm.objectives.Needs()

    def loss(self, batch):
        return Loss(batch.x.sum((1, 2)).mean(), {})


def training(splits, objective, **options):
    chosen = FitOptions(**{**OPTIONS, **options})
    return Training(objective, splits, chosen, launch(chosen))


@pytest.mark.parametrize("per_frame", [False, True])
def test_weighted_losses_of_chunks_add_up_to_that_of_the_batch(splits, per_frame):
    made = training(splits, vrnn(splits, Sums), per_frame=per_frame)
    total, expected = 0.0, 0.0
    for _ in range(30):
        batch = next(made.batches)
        if not batch.before.frames:
            assert total == pytest.approx(expected)
            whole = made.batches.whole
            total, expected = 0.0, float(whole.x.sum()) / 4
            expected *= whole.size / whole.num_frames if per_frame else 1
        assert batch.length <= 4
        assert bool(batch.mask[:, 0].all())
        total += made._weight(batch) * float(made.objective.loss(batch).surrogate)


def test_chunks_longer_than_every_sequence_change_nothing(splits):
    found = []
    for chunk in ("whole", 11):
        made = training(splits, vrnn(splits), chunk=chunk)
        list(made.steps())
        found.append([p.detach().clone() for p in made.objective.parameters()])
    assert all(map(torch.equal, *found))
    made = training(splits, vrnn(splits), chunk=10)
    list(made.steps())
    assert not all(map(torch.equal, found[0], made.objective.parameters()))


def test_a_run_killed_inside_a_sequence_is_resumed_bit_for_bit(splits, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    dgm.fit(vrnn(splits), splits, out=whole, **OPTIONS)
    with pytest.raises(Killed):
        dgm.fit(vrnn(splits), splits, out=killed, watcher=Killer(5), **OPTIONS)
    state = torch.load(killed / "checkpoints" / "step-00000003" / "state.pt", weights_only=True)
    assert state["chunk"]["frames"] > 0
    dgm.resume(killed, objective=vrnn(splits), splits=splits)
    assert_same_run(whole, killed)


@pytest.mark.parametrize(
    ("kind", "persistent"), [("RTRBM", False), ("RTRBM", True), ("TRBM", True)]
)
def test_a_machine_of_frames_is_resumed_inside_a_sequence(splits, tmp_path, kind, persistent):
    def made():
        torch.manual_seed(0)
        model = getattr(dgm.models, kind)(splits.info, hidden_dim=3)
        return dgm.objectives.CD(model, dgm.guides.NoGuide(model), persistent=persistent)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    dgm.fit(made(), splits, out=whole, **OPTIONS)
    with pytest.raises(Killed):
        dgm.fit(made(), splits, out=killed, watcher=Killer(5), **OPTIONS)
    state = torch.load(killed / "checkpoints" / "step-00000003" / "state.pt", weights_only=True)
    assert state["chunk"]["states"].keys() == {"state"}
    dgm.resume(killed, objective=made(), splits=splits)
    assert_same_run(whole, killed)


def refused(splits, model, guide, objective, **options):
    torch.manual_seed(0)
    model = model(splits.info, **options)
    check_runs(objective(model, guide(model)), splits, chunk=4)


def test_what_cannot_continue_is_refused_before_training(splits):
    model = Recurrent()  # its cell starts nowhere but at zero
    with pytest.raises(CompatibilityError, match="Recurrent with SharedGuide does not continue"):
        check_runs(dgm.objectives.ELBO(model, SharedGuide(model)), splits, chunk=4)
    with pytest.raises(CompatibilityError, match="stores values of whole sequences"):
        refused(
            splits, dgm.models.TSBN, dgm.guides.RecurrentBernoulli, dgm.objectives.JSA, hidden_dim=2
        )
    with pytest.raises(CompatibilityError, match="train on different batches"):
        refused(splits, dgm.models.VRNN, dgm.guides.VRNNGuide, dgm.objectives.AVRNN, **SMALL)
    machine = dgm.models.RTRBM(splits.info, hidden_dim=3)
    torch.nn.init.normal_(machine.weight)
    machine.carried = lambda batch: None
    with pytest.raises(CompatibilityError, match="must start from carried"):
        check_runs(dgm.objectives.CD(machine, dgm.guides.NoGuide(machine)), splits, chunk=4)
    with pytest.raises(UsageError, match="single process"):
        check_devices(FitOptions(chunk=4, devices=2, batch_size=4))


def test_a_guide_that_sees_later_frames_is_named(splits):
    small = {"latent_dim": 2, "transition_dim": 3, "hidden_dim": 3}
    pieces = (dgm.models.DMM, dgm.guides.SmoothingNormal, dgm.objectives.ELBO)
    with pytest.warns(ChunkWarning, match="SmoothingNormal sees only the frames of a chunk"):
        refused(splits, *pieces, **small)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ChunkWarning)
        refused(splits, dgm.models.VRNN, dgm.guides.VRNNGuide, dgm.objectives.FIVO, **SMALL)


def tsbn(splits, kind=dgm.objectives.RWS, guide=dgm.guides.RecurrentBernoulli, **options):
    torch.manual_seed(0)
    model = dgm.models.TSBN(splits.info, hidden_dim=2)
    return kind(model, guide(model), **options)


def sequences_of(*lengths):
    rng = np.random.default_rng(0)
    x = (rng.random((sum(lengths), 3)) < 0.4).astype(np.float32)
    part = dgm.data.Sequences(x, np.array(lengths))
    return Splits.of("tiny", "binary", {"train": part, "valid": part, "test": part})


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((80, 120), 25), ((60, 20), 16), ((16, 9), "whole"), ((900, 30), 32)],
)
def test_auto_is_a_quarter_of_the_mean_length_within_limits(lengths, expected):
    splits = sequences_of(*lengths)
    assert with_chunk(FitOptions(chunk="auto"), tsbn(splits), splits).chunk == expected
    assert with_chunk(FitOptions(chunk=50), tsbn(splits), splits).chunk == 50
    assert with_chunk(FitOptions(), tsbn(splits), splits).chunk == "whole"


class FromZero(StepGuide):
    """It knows no frames before a batch."""

    traits = GuideTraits(latents="binary", sequential=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 1
        self.log_odds = torch.nn.Linear(model.info.dim, model.latents["z"].dim)

    def encode(self, batch):
        if batch.before.frames:
            raise RuntimeError("there must be no frames before")
        return self.log_odds(batch.x)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded))


def test_auto_is_whole_where_chunks_would_lose_gradients():
    splits, auto = sequences_of(80, 120), FitOptions(chunk="auto", batch_size=4)
    objectives = dgm.objectives
    frames = tsbn(splits, objectives.NVIL, signal="local"), tsbn(splits, objectives.LocalRLOO)
    assert all(with_chunk(auto, each, splits).longest for each in frames)
    paths = [
        tsbn(splits, weights="paths"),
        tsbn(splits, objectives.NVIL, signal="future"),
        tsbn(splits, objectives.JSA),
        tsbn(splits, guide=dgm.guides.SmoothingBernoulli),
        vrnn(splits, objectives.RWS),
    ]
    assert [with_chunk(auto, each, splits).chunk for each in paths] == ["whole"] * 5
    assert with_chunk(auto, tsbn(splits, guide=FromZero), splits).chunk == "whole"
    two = FitOptions(chunk="auto", batch_size=4, devices=2)
    assert with_chunk(two, tsbn(splits), splits).chunk == "whole"


def test_the_default_of_a_tsbn_is_trained_in_chunks(cli, tmp_path):
    splits = sequences_of(40, 30)
    arrays = {name: getattr(splits, name).x for name in ("train", "valid", "test")}
    arrays |= {f"{name}_lengths": getattr(splits, name).lengths for name in list(arrays)}
    np.savez(tmp_path / "d.npz", **arrays)
    words = [
        "--set",
        "model.hidden_dim=2",
        "--set",
        "fit.lr_schedule=plateau",
        "--steps",
        4,
        "--device",
        "cpu",
        "--out",
        tmp_path / "r",
    ]
    said = cli("fit", "--data", tmp_path / "d.npz", *words)
    assert "training in chunks of 16 frames, at most 4 steps" in said.err
    config = (tmp_path / "r" / "config.toml").read_text()
    assert 'chunk = "auto"\n' in config
    said = cli("fit", "--resume", tmp_path / "r", "--steps", 6)
    assert "training from step 4 in chunks of 16 frames" in said.err
    earlier = config.replace('chunk = "auto"\n', "")  # a folder from before chunks had a name
    (tmp_path / "r" / "config.toml").write_text(earlier)
    said = cli("fit", "--resume", tmp_path / "r", "--steps", 8)
    assert "training from step 6, at most 8 steps" in said.err
