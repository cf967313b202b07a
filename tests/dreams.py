"""The target of the sleep phase, by a sum over all observations and latents of bits."""

import torch

from pyrodgm.batch import Batch
from variants import D, latent_paths, path_log_probs


def totals(program, batch, paths):
    """Log-probabilities of whole sequences, (S, B)."""
    return sum(path_log_probs(program, batch, paths).values()).sum(-1)


def every_observation(length):
    """All bits of some frames, a row each."""
    number = torch.arange(2 ** (length * D))
    return ((number[:, None] >> torch.arange(length * D)) & 1).view(-1, length, D).double()


def dreamt(model, guide, length):
    """E of log q(z | x) over all (x, z) of the model, whose probabilities are fixed."""
    batch, paths = Batch.of(every_observation(length)), latent_paths(guide, length)
    probability = totals(model, batch, paths).detach().exp()
    torch.testing.assert_close(probability.sum(), torch.ones_like(probability[0, 0]))
    return (probability * totals(guide, batch, paths)).sum()
