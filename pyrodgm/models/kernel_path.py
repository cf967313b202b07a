"""Annealing of rows of any kind by Markov kernels that follow the gradient of the potential."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrodgm.data.base import DataInfo
from pyrodgm.engine.kernels import MALA, DiscreteLangevin, Kernel
from pyrodgm.networks.codes import Codes
from pyrodgm.networks.marginals import Marginals

ACCEPTANCE, RATE = 0.6, 0.3  # wanted, and how fast step sizes follow
TUNING, CHAINS, ROUNDS = 100, 50, 3  # temperatures, chains and moves of the run that tunes
FIRST_ROUNDS = 30  # moves at the first temperature


class KernelPath:
    r"""Annealing of rows from independent features to any potential.

    .. math:: \phi_\beta(x) = (1 - \beta) \log q(x) + \beta \phi(x)

    with q the marginals of the training data. Real numbers move by Langevin dynamics that are
    accepted by the rule of Metropolis and Hastings, bits and classes by its discrete form. The step
    size is a function of :math:`\beta`, which is chosen in a run of its own, when the path is made,
    for an acceptance of 0.6; afterwards it does not change.

    Args:
        potential: unnormalised log-density :math:`\phi` of the end, from codes (N, S) to (N,), in
            nats; see `Codes`.
        info: the data's facts.
        codes: between rows and their codes.
        like: has the wanted type and device.
        moves: of the kernel at every temperature.

    Reference: Neal, Annealed importance sampling, 2001.
    """

    def __init__(
        self,
        potential: Callable[[Tensor], Tensor],
        info: DataInfo,
        codes: Codes,
        like: Tensor,
        *,
        moves: int = 1,
    ) -> None:
        self.potential, self.codes, self.moves = potential, codes, moves
        self.marginals = Marginals(info).to(like)
        self.log_steps = like.new_zeros(TUNING + 1) - (2.0 if info.kind == "real" else 0.0)
        self._tune()

    def log_normaliser(self) -> Tensor:
        """Zero: the start is normalised."""
        return self.log_steps.new_zeros((), dtype=torch.float64)

    def start(self, num: int) -> Tensor:
        """Rows with independent features, (num, D)."""
        return self.marginals().sample(torch.Size((num,)))

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        codes = self.codes(x)
        return (high - low) * (self.potential(codes) - self.marginals.of_codes(codes))

    def move(self, x: Tensor, beta: float) -> Tensor:
        """Moves of rows (num, D) at a step size that depends on beta alone."""
        place = beta * TUNING
        below = min(int(place), TUNING - 1)
        weight = place - below
        log_step = (1 - weight) * self.log_steps[below] + weight * self.log_steps[below + 1]
        codes = self.codes(x)
        for _ in range(self.moves):
            codes, _ = self._moved(codes, beta, log_step)
        return self.codes.decoded(codes)

    def _moved(self, codes: Tensor, beta: float, log_step: Tensor) -> tuple[Tensor, Tensor]:
        """One move of codes, and its acceptance."""
        return self._kernel(log_step).move(
            codes,
            lambda c: (1 - beta) * self.marginals.of_codes(c) + beta * self.potential(c),
        )

    def _kernel(self, log_step: Tensor) -> Kernel:
        """The kernel at a step size."""
        if self.marginals.kind == "real":
            return MALA(log_step.exp())
        return DiscreteLangevin(log_step, self.codes.classes)

    def _tune(self) -> None:
        """Choose the step size of every temperature, from the first one upwards."""
        codes, log_step = self.codes(self.start(CHAINS)), self.log_steps[0]
        for k in range(TUNING + 1):
            for _ in range(ROUNDS if k else FIRST_ROUNDS):
                codes, accepted = self._moved(codes, k / TUNING, log_step)
                log_step = log_step + RATE * (accepted.mean() - ACCEPTANCE)
            self.log_steps[k] = log_step
