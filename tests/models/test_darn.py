"""Rows of dependent bits: densities by the formulas, draws, executions, and the whole way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dependent_bits import EnumeratedBits, bits_pair, every_row

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.programs import generate
from pyrodgm.errors import DataError, UsageError
from pyrodgm.evaluate.likelihood.ais import Chains, annealed
from pyrodgm.guides import AutoregressiveBernoulli
from pyrodgm.models import DARN, SBN
from variants import INFOS, WITH_CONDITIONS, assert_executions_agree, conditions, randomised

PAIRS = [("darn", "darn"), ("darn", "nade"), ("sbn", "darn")]


def found(program, x, paths, given=None):
    """The summed log-probabilities of every value of the latents on a row, (S,)."""
    given = None if given is None else given[None, None]
    values = {name: each[:, None] for name, each in paths.items()}
    return sum(score(program, Batch.of(x[None, None], given), values).values())[:, 0, 0]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_densities_are_those_of_the_formulas_and_sum_to_one(pair):
    torch.manual_seed(0)
    model, guide = bits_pair(*pair)
    total = []
    with torch.no_grad():
        for x in every_row():
            exact = EnumeratedBits(model, guide, x)
            torch.testing.assert_close(found(model, x, exact.paths), exact.log_p[:, 0])
            torch.testing.assert_close(found(guide, x, exact.paths), exact.log_q[:, 0])
            torch.testing.assert_close(exact.q.sum(), torch.ones(()).double())
            total.append(exact.evidence())
    torch.testing.assert_close(torch.stack(total).logsumexp(0), torch.zeros(()).double())


def test_conditions_are_added_to_the_log_odds_of_every_layer():
    torch.manual_seed(1)
    given, seen = conditions(1)
    model, guide = bits_pair("darn", "nade", **WITH_CONDITIONS)
    x = every_row()[5]
    with torch.no_grad():
        exact = EnumeratedBits(model, guide, x, seen[0])
        torch.testing.assert_close(found(model, x, exact.paths, given[0]), exact.log_p[:, 0])
        torch.testing.assert_close(found(guide, x, exact.paths, given[0]), exact.log_q[:, 0])


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_fused_and_unrolled_agree(pair):
    torch.manual_seed(2)
    batch = Batch.of(every_row()[:, None])
    for program in bits_pair(*pair):
        assert_executions_agree(program, batch)


@pytest.mark.parametrize("kind", ["darn", "nade"])
def test_draws_have_these_probabilities(kind):
    torch.manual_seed(3)
    model, guide = bits_pair("darn", kind, hidden_dim=(2, 2))
    x = every_row()[3]
    with torch.no_grad():
        exact = EnumeratedBits(model, guide, x)
        bits = draw(guide, Batch.of(x[None, None]), 40_000).values
        assert_mean(shares(torch.cat([*bits.values()], -1)[:, 0, 0]), exact.q)
        rows = generate(model, 40_000, 1, x)["x"][:, 0]
        p = torch.stack([EnumeratedBits(model, guide, each).evidence() for each in every_row()])
        assert_mean(shares(rows), p.exp())


def shares(bits):
    """One-hot codings of the numbers of bit vectors (M, J)."""
    places = 2.0 ** torch.arange(bits.shape[-1] - 1, -1, -1).double()
    return torch.nn.functional.one_hot((bits @ places).long(), 2 ** bits.shape[-1]).double()


def test_annealing_brackets_the_log_likelihood():
    torch.manual_seed(4)
    model, guide = bits_pair("darn", "darn")
    rows = every_row()
    with torch.no_grad():
        exact = torch.stack([EnumeratedBits(model, guide, x).evidence() for x in rows])
    data = Sequences(rows.numpy().astype(np.float32), np.ones(len(rows), int))
    for start in ("prior", "guide"):
        chains = Chains(chains=200, temperatures=20, start=start)
        nats = annealed(model.float(), guide.float(), data, chains, seed=0).nats
        assert np.abs(nats - exact.numpy()).max() < 0.25


def test_what_does_not_fit_is_refused():
    info = INFOS["nade"]
    with pytest.raises(DataError, match="emission 'darn' scores binary values"):
        DARN(replace(info, kind="real"))
    with pytest.raises(DataError, match="cannot score frames with missing features"):
        DARN(replace(info, has_missing=True))
    with pytest.raises(UsageError, match="nade_dim is for kind 'nade', but the kind is 'darn'"):
        AutoregressiveBernoulli(SBN(info, hidden_dim=2), nade_dim=3)


def test_other_emissions_take_other_data():
    model = randomised(DARN(replace(INFOS["nade"], kind="unit"), hidden_dim=2, emission="auto"))
    values = {"z": torch.ones(1, 1, 1, 2).double()}
    nats = score(model, Batch.of(torch.full((1, 1, 3), 0.5).double()), values)["x"]
    assert bool(torch.isfinite(nats).all())
