"""Joint stochastic approximation: a Markov chain over the latents of every row of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.terms import Terms, scored_terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.schedule import Schedule
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.sleep import Share, with_sleep
from pyrodgm.objectives.state import RowCache
from pyrodgm.objectives.targets import Targets


@final
class JSA(Objective):
    r"""Joint stochastic approximation with a Metropolis independence sampler.

    Every row of the training data has a Markov chain over its latents, whose last state is stored
    between epochs. In each step it makes K moves: a proposal from the guide replaces the state with
    probability

    .. math:: \min\Big(1, \frac{w(z')}{w(z)}\Big), \qquad
        w(z) = \frac{p(x, z)}{q(z \mid x)}

    which leaves :math:`p(z \mid x)` invariant. With the states :math:`z^1, \dots, z^K` after the
    moves,

    .. math::
        \nabla_\theta = \frac1K \sum_k \nabla_\theta \log p(x, z^k), \qquad
        \nabla_\phi = \frac1K \sum_k \nabla_\phi \log q(z^k \mid x)

    The targets are the maximum of log p(x), and the guide that minimises
    :math:`\mathrm{KL}(p(z \mid x), q(z \mid x))`. No gradient of a draw is needed, so any kind of
    latents is possible.

    The sleep phase of `WakeSleep`, draws :math:`(x', z')` of the model, can be mixed into the
    gradient of the guide with a share s, or replace it:

    .. math::
        \nabla_\phi = (1 - s) \frac1K \sum_k \nabla_\phi \log q(z^k \mid x)
            + s \, \frac1K \sum_k \nabla_\phi \log q(z'^k \mid x'^k)

    The latents of a row are accepted or rejected as a whole. For long sequences nearly every
    proposal is rejected, and `rws` with weights of frames is the better choice; `acceptance` in
    metrics.jsonl is the share of accepted moves.

    Args:
        model: the model p.
        guide: the guide q.
        particles: moves per step, K.
        cache: whether chains continue from their state in the epoch before. Otherwise each starts
            with its first proposal; this is biased, but adapts faster to a changing model.
        warm_up: first steps of training, in which chains start with their first proposal although
            there is a cache.
        sleep: share s of the sleep phase in the gradient of the guide, from 0 to 1.

    Raises:
        UsageError: a warm-up without a cache.
        CompatibilityError: a sleep phase, for a model that does not run frame by frame.

    Reference: Xu and Ou, Joint stochastic approximation learning of Helmholtz machines, 2016; Ou
    and Song, Joint stochastic approximation and its application to learning discrete latent
    variable models, 2020, algorithm 2; Ou, A review of learning with deep generative models,
    algorithm 5, equations 26 and 27. The warm-up is that of the authors' code; their sleep phase is
    a remark below table 1 of the review.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("ML", "KL by MIS", "alg. 5, eq. 26-27"),
        Targets("ML", "sleep", "note below table 1", "sleep=1"),
    )
    needs: ClassVar[Needs] = Needs()

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 8,
        cache: bool = True,
        warm_up: Annotated[int, Field(ge=0)] = 0,
        sleep: Share = 0.0,
    ) -> None:
        super().__init__(model, guide)
        if warm_up and not cache:
            raise UsageError(
                f"warm_up is {warm_up} steps without the cache, and cache=False has none in any "
                "step; give one of the two"
            )
        self.particles = self.validation_draws = particles
        self.sizes = sizes(guide.latents)
        self.cache = RowCache(sum(self.sizes.values())) if cache else None
        self.warmed = Schedule("linear", start=0.0, end=1.0, steps=warm_up) if warm_up else None
        self.sleep = sleep

    def begin(self, training: Sequences) -> None:
        """Set the size of the cache of latents."""
        if self.cache is not None:
            self.cache.begin(training)

    def loss(self, batch: Batch) -> Loss:
        """Minus the mean log-probabilities of the states of the chains, per sequence."""
        draws = draw(self.guide, batch, self.particles, pathwise=False)
        started = self._started(batch)
        states = self._states(batch, draws.values, started)
        known = {name: torch.cat([states[name][None], z]) for name, z in draws.values.items()}
        terms = scored_terms(self.model, self.guide, batch, known, draws.encoded)
        log_w = terms.log_w.detach().sum(-1).double()
        path = independence_chain(log_w, started)
        if self.training and self.cache is not None:
            self.cache.write(batch, torch.cat([_chosen(v, path[-1]) for v in known.values()], -1))
        candidates = torch.arange(len(log_w), device=path.device)[:, None, None]
        times = (path == candidates).sum(1) / self.particles
        log_probs = terms.log_p + (1 - self.sleep) * terms.log_q
        surrogate = len(log_w) * sequence_mean(times[..., None].to(log_probs) * log_probs)
        wake = Loss(-surrogate, self._report(terms, path), terms.by_name())
        return with_sleep(wake, self, batch, share=self.sleep, particles=self.particles)

    def _started(self, batch: Batch) -> Tensor:
        """Whether the chain of each row continues from the cache, (B,)."""
        if self.cache is None:
            return torch.zeros_like(batch.mask[:, 0])
        warmed = self.warmed is None or self.warmed() >= 1
        return self.cache.written(batch) & warmed

    def _states(
        self, batch: Batch, proposed: Mapping[str, Tensor], started: Tensor
    ) -> Mapping[str, Tensor]:
        """The state of every chain, by site, (B, T, D); before its start its first proposal."""
        first = {name: value[0] for name, value in proposed.items()}
        if self.cache is None:
            return first
        values = self.cache.read(batch).to(batch.x).split(list(self.sizes.values()), -1)
        kept = dict(zip(self.sizes, values, strict=True))
        return {n: kept[n].where(started[:, None, None], value) for n, value in first.items()}

    def _report(self, terms: Terms, path: Tensor) -> dict[str, Tensor]:
        """The bound from the proposals, and the share of accepted moves."""
        frames = terms.mask.sum() * self.particles
        before = torch.cat([torch.zeros_like(path[:1]), path[:-1]])
        return {
            "elbo_nats_per_frame": terms.log_w[1:].detach().sum() / frames,
            "acceptance": (path != before).to(terms.log_w).mean(),
        }


def independence_chain(log_w: Tensor, started: Tensor) -> Tensor:
    r"""Moves of a Metropolis independence sampler over given candidates.

    .. math:: s_k = k \text{ with probability } \min(1, w_k / w_{s_{k-1}}), \text{ else } s_{k-1}

    Args:
        log_w: log importance weights of the state and of K proposals, (1 + K, B).
        started: whether there is a state, (B,); otherwise the first proposal is accepted.

    Returns:
        The index of the state among the candidates after each move, (K, B).

    >>> independence_chain(torch.tensor([[0.0], [100.0], [-100.0]]), torch.tensor([True])).tolist()
    [[1], [1]]
    """
    now = log_w[0].masked_fill(~started, -torch.inf)
    state = torch.zeros_like(started, dtype=torch.int64)
    path = []
    for k, proposed in enumerate(log_w[1:], start=1):
        accepted = torch.rand_like(proposed).log() < proposed - now
        state = torch.where(accepted, k, state)
        now = torch.where(accepted, proposed, now)
        path.append(state)
    return torch.stack(path)


def _chosen(values: Tensor, index: Tensor) -> Tensor:
    """The candidates, (1 + K, B, T, D), selected by an index (B,)."""
    return values[index, torch.arange(len(index), device=index.device)]
