"""Several threads use one process: what they get is what each would get alone."""

import copy
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyrodgm as dgm
from pyrodgm.turns import Turns
from tiny import TINY_FIT, global_state, plain

TOGETHER = 3


@pytest.fixture(scope="module")
def run(fitted):
    return dgm.Run.load(fitted)


def fit(run, seed):
    return dgm.fit(copy.deepcopy(run.objective), run.splits, seed=seed, **TINY_FIT)


CALLS = {
    "evaluate": lambda run, seed: run.evaluate(particles=5, seed=seed),
    "predict": lambda run, seed: run.predict(samples=2, seed=seed),
    "sample": lambda run, seed: run.sample(3, 4, seed=seed),
    "to_datatree": lambda run, seed: run.to_datatree(draws=2, seed=seed),
    "fit": fit,
}


@pytest.mark.parametrize("names", [[name] for name in CALLS] + [["fit", "evaluate", "sample"]])
def test_threads_get_what_they_would_get_alone(names, run):
    jobs = [(CALLS[names[n % len(names)]], n) for n in range(TOGETHER)]
    alone = [repr(plain(call(run, seed))) for call, seed in jobs]
    before, start = global_state(), threading.Barrier(TOGETHER)
    filters = list(warnings.filters)

    def together(job):
        call, seed = job
        start.wait(timeout=60)
        return [repr(plain(call(run, seed))) for _ in range(2)]

    with ThreadPoolExecutor(TOGETHER) as threads:
        for expected, found in zip(alone, threads.map(together, jobs), strict=True):
            assert found == [expected] * 2
    assert global_state() == before
    assert warnings.filters == filters


def test_others_have_their_turn_during_a_training(run):
    """A watcher waits for another thread that evaluates: nobody holds on to the turn."""

    class Waiting:
        evaluated = 0

        def on_data(self, _):
            pass

        def on_start(self, *_):
            pass

        def on_progress(self, _):
            with ThreadPoolExecutor(1) as threads:
                threads.submit(run.evaluate).result(timeout=60)
            self.evaluated += 1

        def on_evaluation(self, *_):
            self.on_progress(None)

        def on_end(self, _):
            pass

    watcher = Waiting()
    objective = copy.deepcopy(run.objective)
    dgm.fit(objective, run.splits, watcher=watcher, steps=4, evaluate_every=2)
    assert watcher.evaluated == 6


def test_a_turn_can_be_taken_within_a_turn():
    turns = Turns()
    with turns.taken(), turns.taken():
        pass
    assert free(turns)


def test_a_turn_is_given_back_when_something_fails():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.taken(), turns.taken():
        1 / 0  # noqa: B018
    assert free(turns)


def test_a_turn_goes_to_the_thread_that_waits():
    """One that takes the next turn at once does not keep the others out."""
    turns, entered = Turns(), threading.Event()

    def wait():
        with turns.taken():
            entered.set()

    other = threading.Thread(target=wait)
    with turns.taken():
        other.start()
        while not turns._queue.locked():
            time.sleep(0.001)
        assert not entered.is_set()
    with turns.taken():
        assert entered.is_set()
    other.join(timeout=60)


def free(turns):
    """Whether another thread can take a turn."""

    def take():
        with turns.taken():
            return True

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(take).result(timeout=60)
