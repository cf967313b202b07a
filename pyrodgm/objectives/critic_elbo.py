"""The critic term with plain Pyro programs: an evidence lower bound with a critic in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.score_parts import ScoreParts
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrodgm.distributions import Implicit
from pyrodgm.engine.rollout import SequenceProgram
from pyrodgm.engine.stepwise import SharedSubsamples, TracePair
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.objectives.critic_term import CriticTerm
from pyrodgm.objectives.elbo import ELBO
from pyrodgm.objectives.svi import ObjectiveELBO, Traced

Program = Callable[..., Any]
Sites = dict[str, dict[str, Any]]  # as Pyro's trace has them


class CriticELBO(ObjectiveELBO):
    r"""The evidence lower bound of a guide without a density, as a `pyro.infer.ELBO`.

    .. math:: E_q[\log p(x, z) - \log \hat q(z \mid x)], \qquad
        \log \hat q(z \mid x) = \log p(z) + T(x, z)

    The guide draws auxiliary sites as it likes, marked by ``infer={"is_auxiliary": True}``, and
    gives each latent site a value computed from them, ``pyro.sample(name, dist.Delta(value))``.
    All these sites are scored by the critic; other sites of the guide by their own densities.

    A step of training is some steps of the critic on `critic_loss`, by an optimiser of its own, and
    one of `pyro.infer.SVI` on this. The value of the loss is an estimate, and no bound.

    Args:
        term: the critic, called with what the programs are called with and with the latents by
            name; it gives a number for every entry of their plates.
        num_particles: number of draws, one after the other.
        name: as of `ObjectiveELBO`.

    Raises:
        UsageError: what is given is no `CriticTerm`.
        CompatibilityError: a program is a sequence program, or the guide gives no value by a Delta.
    """

    def __init__(
        self, term: CriticTerm, *, num_particles: int = 1, name: str = "pyrodgm.critic"
    ) -> None:
        if not isinstance(term, CriticTerm):
            raise UsageError(
                f"CriticELBO takes a CriticTerm, and {type(term).__name__} is given; wrap the "
                "critic: CriticTerm(critic)"
            )
        super().__init__(ELBO, name=name, particles=num_particles)
        self.term = term

    def critic_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The mean logistic loss of telling the guide's draws from the model's prior, a scalar.

        Its gradient is that of the critic alone.
        """
        with SharedSubsamples(), torch.no_grad(), _KnownAsDelta():
            q, p = (_sites(poutine.trace(f).get_trace(*args, **kwargs)) for f in (guide, model))
        names = _values_alone(q)
        if missing := [name for name in names if name not in p]:
            raise CompatibilityError(
                f"the guide draws {', '.join(missing)}, which the model does not; mark what only "
                "the guide draws by infer={'is_auxiliary': True}"
            )
        of_q, of_p = ({name: sites[name]["value"] for name in names} for sites in (q, p))
        loss, mask = self.term.loss(of_q, of_p, *args, **kwargs), q[names[0]]["mask"]
        if mask is None:
            return loss.mean()
        mask = torch.as_tensor(mask).expand(loss.shape)
        return loss.where(mask, 0.0).sum() / mask.sum()

    def traced(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traced:
        """Log-probabilities of draws from the guide, and the loss; see `ObjectiveELBO`."""
        for program in (model, guide):
            if isinstance(program, SequenceProgram):
                raise CompatibilityError(
                    f"CriticELBO is for plain Pyro programs, and {type(program).__name__} is a "
                    "program of pyrodgm; take pyrodgm.fit with an objective that has a critic"
                )
        return super().traced(model, guide, args, kwargs)

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> TracePair:
        pair = super()._get_trace(model, _KnownAsDelta()(guide), args, kwargs)
        of_model, of_guide = map(_sites, pair)
        self._score(of_model, of_guide, args, kwargs)
        return pair

    def _score(self, model: Sites, guide: Sites, args: Any, kwargs: Any) -> None:
        """Let log p(z) + T(x, z) be the guide's log-probability of the sites without a density."""
        names = _values_alone(guide)
        values = {name: guide[name]["value"] for name in names}
        log_q = {name: model[name]["unscaled_log_prob"] for name in names}
        log_q[names[0]] = log_q[names[0]] + self.term.ratio(values, *args, **kwargs)
        for name, nats in log_q.items():
            _set_log_prob(guide[name], nats)
        for site in guide.values():
            if site["infer"].get("is_auxiliary"):
                _set_log_prob(site, torch.zeros_like(site["unscaled_log_prob"]))


class _KnownAsDelta(Messenger):
    """Within it draws of unknown density are certain values, of log-probability zero."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Implicit):
            msg["fn"] = Delta(msg["fn"].v, event_dim=msg["fn"].event_dim)


def _sites(trace: Trace) -> Sites:
    """The sample sites of a trace."""
    nodes: dict[str, Any] = dict(trace.nodes)
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def _values_alone(guide: Sites) -> list[str]:
    """The sites of a guide that are values without a density.

    Raises:
        CompatibilityError: there are none.
    """
    names = [
        name
        for name, site in guide.items()
        if not site["infer"].get("is_auxiliary") and isinstance(_base(site["fn"]), Delta)
    ]
    if not names:
        raise CompatibilityError(
            "the guide gives no latent site its value by a Delta, so that there is nothing for a "
            "critic to score: pyro.sample(name, dist.Delta(value).to_event(1)), or take "
            "pyro.infer.Trace_ELBO, for its density is known"
        )
    return names


def _base(distribution: Any) -> Any:
    """The distribution within those that only shape or mask it."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return distribution


def _set_log_prob(site: dict[str, Any], nats: Tensor) -> None:
    """Another log-probability of a site in a trace, whose draw carries gradients."""
    scaled = scale_and_mask(nats, site["scale"], site["mask"])
    site["unscaled_log_prob"], site["log_prob"] = nats, scaled
    site["log_prob_sum"] = scaled.sum()
    no_score: Any = 0
    site["score_parts"] = ScoreParts(scaled, no_score, scaled)
