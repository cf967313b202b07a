"""Processes of their own, forked from one that has imported torch already.

A process that starts from nothing imports torch for seconds. Those that are not about how a process
starts are forked from a server, which each test process starts where it is needed first.
"""

import multiprocessing
import os
import signal
import socket
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import torch

from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from pyrodgm_cli.main import main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pyrodgm_cli.main", "pyrodgm.runs.fitting", "lightning_fabric", "torch._dynamo"]
)
LIMIT = 200  # seconds, on a machine that does other things too


def command(words, out, err, environment=()):
    """Run the command line, printing into files; the exit code."""
    os.environ.update(environment)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def _exit_with(words, out, err, environment):
    raise SystemExit(command(words, out, err, environment))


@contextmanager
def started(*words, out, err, environment=()):
    """The command line in a process of its own, which is not outlived."""
    process = FORKS.Process(target=_exit_with, args=(words, out, err, environment))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(process, found):
    """Until something is there, which a process that lives is to write."""
    deadline = time.monotonic() + LIMIT
    while not found():
        assert process.is_alive(), process.exitcode
        assert time.monotonic() < deadline
        time.sleep(0.01)


def elsewhere(function, *arguments):
    """What a function returns in another process."""
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_answer, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return _received(here)
    finally:
        process.kill()
        process.join()
        here.close()


def together(function, *arguments):
    """What a function returns in each of two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = []
    for rank in range(2):
        here, there = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=_ranked, args=(there, rank, port, function, arguments))
        process.start()
        there.close()
        both.append((process, here))
    try:
        return [_received(here) for _, here in both]
    finally:
        for process, here in both:
            process.kill()
            process.join()
            here.close()


def _received(connection):
    assert connection.poll(LIMIT), "a process says nothing"
    failure, value = connection.recv()
    assert failure is None, failure
    return value


def _ranked(connection, rank, port, function, arguments):
    """Call a function as lightning-fabric would start a process of this rank."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    rank_zero_only.rank = rank  # read from the environment at import, which is over
    _answer(connection, function, arguments)


def _answer(connection, function, arguments):
    try:
        value = function(*arguments)
    except BaseException:  # noqa: BLE001 - the test that waits raises it
        connection.send((traceback.format_exc(), None))
    else:
        connection.send((None, value))
    signal.pause()  # until all have said what they have to say, and are ended


def fit_or_resume(values, out):
    """Fit a configuration, or resume without one; whether both processes have equal weights."""
    run = fit_config(resolve(values), Path(out)) if values else resume(out)
    return equal_weights(run.objective)


def equal_weights(objective):
    """Whether both processes have the same parameters and buffers."""
    weights = torch.cat([v.flatten().double() for v in objective.state_dict().values()])
    gathered = [torch.empty_like(weights) for _ in range(2)]
    torch.distributed.all_gather(gathered, weights)
    return torch.equal(*gathered)
