"""No public call moves the caller's random state, and none depends on it but by the weights."""

import copy
import inspect

import numpy as np
import pyro
import pytest
import torch

import pyrodgm as dgm
from pyrodgm.evaluate.likelihood.ais import Chains
from pyrodgm.evaluate.likelihood.compare import compare
from pyrodgm.evaluate.trivial.likelihoods import trivial_bounds
from pyrodgm.objectives import Objective
from pyrodgm.report import write_report
from pyrodgm.runs.check import check
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from tiny import TINY_FIT, global_state, plain, ragged, tiny_values

pytestmark = pytest.mark.usefixtures("without_drawing")

HIDDEN = {"hidden_dim": 3}
LITTLE = {"steps": 2, "evaluate_every": 2, "batch_size": 8}


class Fitted:
    """Runs on bits of which some are missing, and on words of which some are held out."""

    def __init__(self, folder):
        bits = ragged()
        bits["test"] = np.where(
            np.arange(bits["test"].size).reshape(-1, 6) % 7, bits["test"], np.nan
        )
        words = ragged(kind="count")
        words["test_held_out"] = np.ones_like(words["test"])
        words["words"] = np.array(["one", "two", "three", "four", "five", "six"])
        self.folder = folder
        self.files = {name: folder / f"{name}.npz" for name in ("bits", "words")}
        for name, arrays in (("bits", bits), ("words", words)):
            np.savez(self.files[name], **arrays)
        self.runs = {
            name: fit_config(resolve(tiny_values(file)), folder / name)
            for name, file in self.files.items()
        }
        self.bits, self.words = self.runs["bits"], self.runs["words"]
        self.calls = 0

    def new(self):
        """A path that nothing is at."""
        self.calls += 1
        return self.folder / f"new-{self.calls}"

    def fit(self):
        objective = copy.deepcopy(self.bits.objective)
        return dgm.fit(objective, self.bits.splits, out=self.new(), **LITTLE)

    def resume(self):
        path = self.new()
        values = tiny_values(self.files["bits"], **LITTLE, lr_schedule="plateau")
        fit_config(resolve(values), path)
        return dgm.resume(path, steps=4)


def generated():
    return dgm.data.load("balls", num_train=2, num_valid=1, num_test=1, length=3)


def report(fitted):
    path = fitted.new().with_suffix(".html")
    return write_report(fitted.bits, path, with_check=False).read_text()


def states(f):
    """Those of an hmm, which starts from data."""
    splits = f.bits.splits

    def build():
        model = dgm.models.HMM(splits.info, num_states=2)
        return dgm.objectives.ML(model, dgm.guides.NoGuide(model))

    return dgm.fit(build, splits, **LITTLE).states().to_frame().to_numpy()


def energy_likelihood(f):
    """That of an rbm on bits without missing values, between bounds by annealing."""
    file = f.new().with_suffix(".npz")
    np.savez(file, **ragged())
    splits = dgm.data.load(str(file))

    def build():
        model = dgm.models.RBM(splits.info, hidden_dim=3)
        return dgm.objectives.PCD(model, dgm.guides.NoGuide(model))

    run = dgm.fit(build, splits, **LITTLE)
    sizes = {"chains": 3, "temperatures": 4}
    found = run.energy_likelihood("train", estimator="ais", **sizes)
    return found.lower.nats_per_frame, found.upper.nats_per_frame


def annealed(f):
    """Bounds by chains in both directions."""
    few = Chains(chains=2, temperatures=3)
    found, bound, _ = f.bits.annealed("train", sequences=2, simulated=1, chains=few)
    return found.nats, found.simulated.upper, bound.nats_per_frame


def field_in_the_plane(f):
    """A random field beside the marginals of the data."""
    names = {"model": {"name": "random-field"}, "guide": {"name": "marginals"}}
    return rows(f, "nce", **names)


def field_likelihood(f):
    """That of a field between bounds, by draws of its noise."""
    found = field_in_the_plane(f).field_likelihood("test", draws=8)
    return found.lower.nats_per_frame, found.upper.nats_per_frame


def rows(f, objective, **names):
    """A run on a mixture in the plane."""
    data = {"source": "gmm5", "num_train": 40, "num_valid": 10, "num_test": 10}
    values = {"data": data, "objective": {"name": objective}, "fit": LITTLE, **names}
    return fit_config(resolve(values), f.new())


def parts(f):
    """Of a guide whose density is known, and of one without, with the critic's estimate."""
    known = rows(f, "elbo", model={"name": "vae", "latent_dim": 1}).parts("valid")
    model = {"name": "vae", "latent_dim": 1}
    implicit = rows(f, "avb", model=model, guide={"name": "implicit"})
    return known, implicit.parts("valid"), implicit.adversarial_estimate("valid")


def study(f):
    """Scores of two runs, each in a process of its own."""
    values = {**tiny_values(f.files["bits"], **LITTLE), "candidate": [{"objective": "nvil"}]}
    found = dgm.study(values | {"objective": {}, "seeds": [0, 1]}, out=f.new(), processes=2)
    return [outcome.score for outcome in found.outcomes]


CALLS = {
    "fit": Fitted.fit,
    "resume": Fitted.resume,
    "fit_config": lambda f: fit_config(resolve(tiny_values(f.files["bits"], **LITTLE)), f.new()),
    "load": lambda f: dgm.Run.load(f.bits.folder.path),
    "save": lambda f: f.bits.save(f.new()),
    "data.load of a file": lambda f: dgm.data.load(str(f.files["bits"])),
    "data.load of what is generated": lambda _: generated(),
    "trivial predictors": lambda f: trivial_bounds(f.bits.splits, "test"),
    "validation": lambda f: f.bits.validation(),
    "evaluate": lambda f: f.bits.evaluate(particles=3),
    "evaluate by a filter": lambda f: f.bits.evaluate(particles=3, estimator="fivo"),
    "scores": lambda f: f.bits.scores(particles=3).to_dict(),
    "states": states,
    "energy_likelihood": energy_likelihood,
    "field_likelihood": field_likelihood,
    "landscape": lambda f: field_in_the_plane(f).landscape().kl_to_learned,
    "annealed": annealed,
    "scored": lambda f: f.bits.scored(particles=3).nats,
    "sequences": lambda f: f.bits.sequences("test").x,
    "trivial_bounds": lambda f: f.bits.trivial_bounds(),
    "results": lambda f: f.bits.results().test,
    "metrics": lambda f: f.bits.metrics(),
    "to_datatree": lambda f: f.bits.to_datatree(draws=2),
    "sample": lambda f: f.bits.sample(2, 3),
    "sample with a prefix": lambda f: f.bits.sample(2, 3, prefix=1),
    "predict": lambda f: f.bits.predict(samples=2),
    "forecast": lambda f: f.bits.forecast(2, samples=3),
    "impute": lambda f: f.bits.impute(samples=3),
    "topics": lambda f: f.words.topics("train", num=1, num_words=2),
    "word_scores": lambda f: f.words.word_scores(),
    "parts": parts,
    "adversarial_estimate": parts,
    "sample_quality": lambda f: rows(f, "gan", model={"name": "generator"}).sample_quality("test"),
    "check": lambda f: check(f.bits, draws=30, posterior_draws=3, sequences=2),
    "compare": lambda f: compare({"one": f.bits, "two": f.bits}),
    "report": report,
    "study": study,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Fitted(tmp_path_factory.mktemp("walk"))


@pytest.mark.parametrize("name", CALLS)
def test_calls_leave_the_random_state_alone_and_do_not_depend_on_it(name, runs):
    found = []
    for seed in (1, 2):
        pyro.set_rng_seed(seed)
        before = global_state()
        found.append(repr(plain(CALLS[name](runs))))
        assert global_state() == before
    assert found[0] == found[1]


def test_every_public_call_is_walked_through():
    methods = inspect.getmembers(dgm.Run, callable)
    public = {name for name, _ in methods if not name.startswith("_")}
    functions = {name for name in dgm.__all__ if inspect.isfunction(getattr(dgm, name))}
    assert public | functions <= set(CALLS)


def fresh(splits, **given):
    """A model and a guide from the caller's random state, fitted."""
    model = dgm.models.TSBN(splits.info, **HIDDEN)
    guide = dgm.guides.RecurrentBernoulli(model)
    return model, dgm.fit(dgm.objectives.NVIL(model, guide), splits, **{**TINY_FIT, **given})


def weights(objective: Objective):
    return repr(plain(objective.state_dict()))


def test_random_restarts_differ(runs):
    pyro.set_rng_seed(0)
    fitted = [fresh(runs.bits.splits) for _ in range(4)]
    assert len({weights(run.objective) for _, run in fitted}) == 4
    assert len({run.evaluate("valid").nats_per_frame for _, run in fitted}) == 4


def test_the_same_weights_and_seed_give_the_same_fit(runs):
    model, _ = fresh(runs.bits.splits)
    guide = dgm.guides.RecurrentBernoulli(model)
    objective = dgm.objectives.NVIL(model, guide)
    ends = []
    for seed in (0, 0, 1):
        again = copy.deepcopy(objective)
        torch.rand(1)
        ends.append(weights(dgm.fit(again, runs.bits.splits, seed=seed, **TINY_FIT).objective))
    assert ends[0] == ends[1] != ends[2]


def test_what_a_watcher_draws_is_its_own(runs):
    """It sees the caller's random state, and training does not see its draws."""

    class Drawing:
        drawn: list[float]

        def on_data(self, *_):
            pass

        def on_start(self, *_):
            self.drawn = []

        def on_progress(self, _):
            self.drawn.append(torch.rand(1).item())

        def on_evaluation(self, *_):
            self.drawn.append(torch.rand(1).item())

        def on_end(self, _):
            pass

    config, watcher = resolve(tiny_values(runs.files["bits"], **LITTLE)), Drawing()
    pyro.set_rng_seed(3)
    watched = fit_config(config, runs.new(), watcher)
    pyro.set_rng_seed(3)
    assert watcher.drawn == [torch.rand(1).item() for _ in range(3)]
    assert weights(watched.objective) == weights(fit_config(config, runs.new()).objective)
