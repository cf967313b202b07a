"""Fused equals unrolled for every model and guide, with every emission and with missing values."""

from __future__ import annotations

import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import CompatibilityError
from pyrodgm.models import AR, DTSBND, HMM, LDS, RNN, RNNNADE, SRNN, VRNN
from pyrodgm.objectives import RLOO
from variants import (
    EMISSIONS,
    INFOS,
    VARIANTS,
    assert_executions_agree,
    frames,
    latent_paths,
    pair,
    path_log_probs,
    randomised,
)

LENGTHS = [6, 4, 1]
CASES = [  # an emission, and whether values are missing: a NADE cannot leave features out
    (emission, missing)
    for emission in EMISSIONS
    for missing in (False, True)
    if not (emission == "nade" and missing)
]
LATENT_FREE = {
    "ar order 0": lambda info, **o: AR(info, history=0, **o),
    "ar order 2": lambda info, **o: AR(info, history=2, hidden_dim=3, hidden_layers=2, **o),
    "gru": lambda info, **o: recurrent(info, "gru", **o),
    "lstm": lambda info, **o: recurrent(info, "lstm", **o),
    "relu": lambda info, **o: recurrent(info, "relu", **o),
}


def recurrent(info: DataInfo, cell: str, **options: object) -> RNN | RNNNADE:
    """The recurrent network of an emission."""
    options = {"hidden_dim": 3, "cell": cell, **options}
    if options["emission"] == "nade":
        del options["emission"]
        return RNNNADE(info, **options)
    return RNN(info, **options)


def ragged(emission: str, *, missing: bool = False) -> Batch:
    """Sequences of several lengths, of which some features and a whole frame may be missing."""
    x = frames(emission, len(LENGTHS), max(LENGTHS))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    batch = Batch(x * mask[..., None], mask, torch.arange(len(LENGTHS)))
    if missing:
        batch.seen = torch.rand_like(x) < 0.6
        batch.seen[0, 2] = False
        batch.x = torch.where(batch.seen, batch.x, torch.tensor(INFOS[emission].fill).double())
    return batch


def emission_options(emission: str) -> dict[str, object]:
    return {"emission": emission} | ({"nade_dim": 2} if emission == "nade" else {})


@pytest.mark.parametrize(("emission", "missing"), CASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, emission: str, missing: bool) -> None:
    batch = ragged(emission, missing=missing)
    for program in pair(variant, emission):
        assert_executions_agree(program, batch)


@pytest.mark.parametrize(("emission", "missing"), CASES)
@pytest.mark.parametrize("name", LATENT_FREE)
def test_latent_free_models(name: str, emission: str, missing: bool) -> None:
    model = randomised(LATENT_FREE[name](INFOS[emission], **emission_options(emission)))
    assert_executions_agree(model, ragged(emission, missing=missing))


@pytest.mark.parametrize(("emission", "missing"), [case for case in CASES if case[0] != "nade"])
def test_hidden_markov_models(emission: str, missing: bool) -> None:
    model = randomised(HMM(INFOS[emission], num_states=3, emission=emission))
    assert_executions_agree(model, ragged(emission, missing=missing))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("state_dim", [1, 2, len(LENGTHS), max(LENGTHS)])
def test_linear_dynamical_systems(state_dim: int, missing: bool) -> None:
    """A state of any size, also of as many numbers as there are frames or sequences."""
    model = randomised(LDS(INFOS["gaussian"], state_dim=state_dim), std=0.4)
    assert_executions_agree(model, ragged("gaussian", missing=missing))


@pytest.mark.parametrize("execution", ["fused", "unrolled"])
def test_an_emission_that_cannot_leave_features_out_says_so(execution: str) -> None:
    objective, batch = RLOO(*pair("tsbn", "nade"), execution=execution), ragged("nade")
    batch.seen = torch.ones_like(batch.x, dtype=torch.bool)
    with pytest.raises(CompatibilityError, match="NADE cannot score a frame with"):
        objective(batch)


DROPPING = {
    "ar": lambda rate: AR(INFOS["nade"], hidden_dim=5, dropout=rate),
    "rnn": lambda rate: RNN(INFOS["nade"], hidden_dim=5, dropout=rate),
    "rnn-nade": lambda rate: RNNNADE(INFOS["nade"], hidden_dim=5, nade_dim=2, dropout=rate),
    "dtsbn-d": lambda rate: DTSBND(INFOS["nade"], hidden_dim=2, layer_dim=5, dropout=rate),
    "vrnn": lambda rate: VRNN(INFOS["nade"], latent_dim=2, hidden_dim=5, dropout=rate),
    "srnn": lambda rate: SRNN(INFOS["nade"], latent_dim=2, hidden_dim=5, dropout=rate),
}


@pytest.mark.parametrize("name", DROPPING)
def test_units_are_left_out_in_training_alone(name: str) -> None:
    model, plain = (randomised(DROPPING[name](rate)) for rate in (0.5, 0.0))
    plain.load_state_dict(model.state_dict())
    batch, paths = ragged("nade"), latent_paths(model, 6)
    paths = {site: path[:3] for site, path in paths.items()}
    both = [path_log_probs(each, batch, paths)["x"] for each in (model, plain)]
    assert not torch.equal(*both)
    both = [path_log_probs(each.eval(), batch, paths)["x"] for each in (model, plain)]
    assert torch.equal(*both)
