"""The weight decay of a training that is given in epochs."""

from __future__ import annotations

from dataclasses import replace

from pyrodgm.data.base import Sequences
from pyrodgm.setup.options import FitOptions


def with_decay(options: FitOptions, training: Sequences) -> FitOptions:
    r"""The options with a weight decay in the place of `decay_epochs`.

    Under Adam with decoupled decay :math:`\lambda`, a weight without a gradient shrinks by a factor
    e in :math:`1 / (\eta \lambda)` steps. For this to be :math:`\tau` epochs,

    .. math:: \lambda = \frac{1}{\eta\, \tau\, S}, \qquad
        S = \frac{N}{B} \max\Big(1, \frac{\bar T}{C}\Big)

    with the initial learning rate :math:`\eta`, and S steps in an epoch of N sequences of mean
    length :math:`\bar T` in batches of B, in chunks of C frames if there are any. So the decay is
    weaker where there is more data. A `weight_decay` above zero takes precedence.

    Args:
        options: of training, with their chunk.
        training: the sequences.

    Reference: Wang and Aitchison, How to set AdamW's weight decay as you scale model and dataset
    size, 2024, whose time scale this is.

    >>> import torch
    >>> part = Sequences(torch.zeros(4000, 1), [40] * 100)
    >>> options = FitOptions(lr=0.02, decay_epochs=25, batch_size=10, chunk=20)
    >>> with_decay(options, part).weight_decay  # 20 steps an epoch
    0.1
    """
    if not options.decay_epochs or options.weight_decay:
        return options
    lengths, size = training.lengths, min(options.batch_size, len(training))
    pieces = 1.0 if options.longest is None else max(1.0, lengths.mean() / options.longest)
    steps = len(lengths) / size * pieces
    return replace(options, weight_decay=float(1 / (options.lr * options.decay_epochs * steps)))
