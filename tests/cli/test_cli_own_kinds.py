"""The examples of one's own kinds of model and objective, fitted from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ENERGY, GAME = EXAMPLES / "own_energy.py", EXAMPLES / "own_game.py"
IMPLICIT = EXAMPLES / "own_implicit_guide.py"


@pytest.fixture
def bits(save_data):
    rng = np.random.default_rng(0)
    return save_data(train=rng.integers(2, size=(60, 3), dtype=np.uint8), train_lengths=np.ones(60))


def test_an_energy_given_by_its_potential_has_everything(cli, bits, here):
    words = ["fit", "--model", f"{ENERGY}:Boltzmann", "--data", bits, "--steps", 3, "--out", "r"]
    assert cli(*words).code == 0
    assert json.loads(cli("evaluate", "r", "--json").out)["estimator"] == "exact"
    annealed = cli("evaluate", "r", "--estimator", "ais", "--temperatures", 5, "--json")
    assert json.loads(annealed.out)["log_normaliser_nats"]["chains"] == 100
    assert cli("sample", "r", "--num", 2, "--out", "drawn.npz").code == 0
    assert set(np.load(here / "drawn.npz")["x"].ravel()) <= {0, 1}


def test_an_energy_of_bits_refuses_other_data(cli, here):
    said = cli("fit", "--model", f"{ENERGY}:Boltzmann", "--data", "gmm5", "--steps", 2)
    assert (said.code, "has real values" in said.err) == (3, True)


def test_a_generator_and_an_objective_of_two_phases_in_one_file(cli, here):
    words = ["--model", f"{GAME}:Points", "--objective", f"{GAME}:Game", "--steps", 2]
    assert cli("fit", *words, "--out", "r").code == 0
    assert "no bound on the log-likelihood" in cli("evaluate", "r").out
    assert cli("fit", "--resume", "r", "--steps", 3).code == 0
    assert cli("sample", "r", "--num", 2, "--out", "drawn.npz").code == 0


def test_what_chose_the_weights_is_compared_with_trivial_predictors(cli, here):
    """And not the bound of one draw, which this objective does not maximise."""
    words = ["--model", "vae", "--objective", "aae", "--data", "avb-points", "--steps", 2]
    said = cli("fit", *words, "--set", "data.copies=8", "--out", "r")
    assert said.code == 0
    assert "VAE, log-likelihood by quadrature" in said.out
    assert "active units" in said.out
    assert "1-sample lower bound" in cli("evaluate", "r").out


@pytest.mark.filterwarnings("ignore:the critic's estimate")  # after two steps it means nothing
def test_a_guide_without_a_density(cli, here):
    words = ["--model", "vae", "--guide", f"{IMPLICIT}:Mixed", "--objective", "avb", "--steps", 2]
    assert cli("fit", *words, "--data", "avb-points", "--out", "r").code == 0
    assert "by quadrature" in cli("evaluate", "r").out
    assert "--particles is not used" in cli("evaluate", "r", "--particles", 5).err
    refused = cli("fit", *words, "--data", "avb-points", "--set", "objective.name=elbo")
    assert refused.code == 2
