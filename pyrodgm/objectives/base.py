"""Objectives: what is optimised, as phases of the training loop."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.validation import Validation, validate
from pyrodgm.evaluate.likelihood.weights import has_bound
from pyrodgm.evaluate.prediction.samples import Sampler
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.objectives.targets import Targets
from pyrodgm.schema import Checked


@dataclass(frozen=True)
class Needs:
    """Properties of model and guide that an objective requires; None means any.

    Args:
        latents: kinds of latent variables it can learn.
        reparameterised: whether the guide's draws must carry gradients.
        has_density: whether the guide's log-probabilities are used.
        sequential: whether model and guide must run over time.
        density: kinds of density that the model may have.
        over: what the guide draws.
        auxiliary: whether the guide draws sites that the model does not have.
        codebook: whether the guide draws the nearest codes of a codebook, without randomness.
        independent_bits: whether the guide must draw the bits of a site independently.
        has_entropy: whether the entropy of the guide must be known, or estimated from its draws:
            it has a density, or its draws carry gradients.
        chains: whether Markov chains must draw the model's observations.
        by_frame: whether every frame must have a normaliser of its own, given the frames before.
        one_of: kinds of latents of which the model must have at least one; empty for no such need.
    """

    latents: frozenset[str] = frozenset({"binary", "categorical", "continuous"})
    reparameterised: bool | None = None
    has_density: bool | None = True
    sequential: bool | None = None
    density: frozenset[str] | None = frozenset({"normalised"})
    over: Literal["latents", "observations"] = "latents"
    auxiliary: bool | None = None
    codebook: bool | None = False
    independent_bits: bool | None = None
    has_entropy: bool | None = None
    chains: bool = False
    by_frame: bool | None = None
    one_of: frozenset[str] = frozenset()


# Of objectives whose gradients flow through draws of bits or classes, all those of a site at once.
DISCRETE = Needs(one_of=frozenset({"binary", "categorical"}), independent_bits=True)


class Loss(NamedTuple):
    """The result of one phase; a tuple, so that device wrappers can traverse it.

    Args:
        surrogate: scalar whose gradient is the update direction, a mean over sequences: of the
            sum over frames where these are compared one by one. Its value has no meaning.
        report: detached numbers to report, each with its unit in the key.
        sites: the terms by site, used to name the cause of a non-finite number.
    """

    surrogate: Tensor
    report: dict[str, Tensor]
    sites: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Phase:
    """The turns of one optimiser in a step.

    Args:
        name: of the phase, for reports.
        modules: the modules whose parameters it updates.
        loss: function of a batch to minimise; gradients of gradients are allowed.
        optimizer: options of its optimiser; those of `[fit]` if not given.
        lr: learning rate, in the place of that of `[fit]`, whose other options are taken.
        repeats: turns per step.
        fresh: whether every turn has a new batch; otherwise all turns of a step share one.
        every: it has turns in every n-th step only.
        start: number of steps before its first turn.
        end: number of steps after which it has no more turns; None for no end.
        after: function called after each of its turns, such as clipping of weights.
        without: modules whose parameters it leaves to other phases, parts of `modules`.

    Raises:
        UsageError: fewer than one turn, n is less than one, or both `optimizer` and `lr`.
    """

    name: str
    modules: tuple[nn.Module, ...]
    loss: Callable[[Batch], Loss]
    optimizer: OptimizerOptions | None = None
    lr: float | None = None
    repeats: int = 1
    fresh: bool = False
    every: int = 1
    start: int = 0
    end: int | None = None
    after: Callable[[], None] | None = None
    without: tuple[nn.Module, ...] = ()

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.every < 1:
            raise UsageError(
                f"phase '{self.name}' has {self.repeats} turns in every {self.every}-th step; give "
                "at least 1 of each"
            )

        if self.optimizer is not None and self.lr is not None:
            raise UsageError(f"phase '{self.name}' has both an optimizer and lr; give one of them")

    def options(self, of_fit: OptimizerOptions) -> OptimizerOptions:
        """The options of its optimiser, given those of `[fit]`."""
        if self.lr is not None:
            return replace(of_fit, lr=self.lr)
        return self.optimizer or of_fit

    def parameters(self) -> Iterable[nn.Parameter]:
        """Its parameters, each once."""
        return self.named_parameters().values()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Its parameters by name, each once."""
        left = {id(parameter) for part in self.without for parameter in part.parameters()}
        named: dict[int, tuple[str, nn.Parameter]] = {}
        for number, module in enumerate(self.modules):
            for name, parameter in module.named_parameters():
                if id(parameter) not in left:
                    named.setdefault(id(parameter), (f"{number}.{name}", parameter))
        return dict(named.values())

    def others(self, objective: nn.Module) -> tuple[nn.Parameter, ...]:
        """The parameters of the objective that it leaves as they are and that others may update."""
        own = {id(parameter) for parameter in self.parameters()}
        return tuple(p for p in objective.parameters() if p.requires_grad and id(p) not in own)


class Objective(Checked, nn.Module, ABC):
    """A learning algorithm for one model and one guide.

    It holds all state that exists only for learning (baselines, critics, caches; see
    `pyrodgm.objectives.state`). An objective that updates everything together defines `loss`; one
    with several optimisers defines `phases`.

    `targets` says what it optimises for the model and for the guide, for `pyrodgm list --grid`.
    `headline` is the key of the reported number shown by the learning curve and the progress bar.
    `shown` are the keys of the numbers of its validation that are worth seeing beside the score,
    which it gives to its `Validation` too.
    `fit_defaults` are its own defaults for options of training; adversarial objectives need others
    than bounds. `validation_draws` are those of the bound by which weights are chosen: K for an
    objective that is a bound with K draws, so that the choice follows what is optimised.
    `usual_guide` is the name of the guide for models whose own default does not fit.
    `by_frame` says whether it learns every frame given its past alone, so that no gradient crosses
    frames through latents.
    """

    needs: ClassVar[Needs]
    targets: ClassVar[tuple[Targets, ...]] = ()
    headline: ClassVar[str] = "elbo_nats_per_frame"
    shown: ClassVar[tuple[str, ...]] = ()
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    usual_guide: ClassVar[str | None] = None
    validation_draws: int = 1
    by_frame: bool = False

    def __new__(cls, /, *given: Any, **options: Any) -> Self:
        """Refuse a guide in the place of the model."""
        if len(given) > 1 and isinstance(given[0], Guide) and isinstance(given[1], Model):
            raise UsageError(
                f"{cls.__name__} takes a model, then its guide, and is given "
                f"{type(given[0]).__name__} and {type(given[1]).__name__}: exchange the two"
            )
        return super().__new__(cls, *given, **options)

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__()
        self.model = model
        self.guide = guide

    def loss(self, batch: Batch) -> Loss:  # noqa: ARG002 - what it takes where there is one
        """The loss of an objective with one phase."""
        raise UsageError(f"{type(self).__name__} defines neither loss nor phases; it needs one")

    def phases(self) -> tuple[Phase, ...]:
        """The phases of a training step, in order; called once, see `built_phases`."""
        return (Phase("all", (self,), self.loss),)

    @cached_property
    def built_phases(self) -> tuple[Phase, ...]:
        """The phases, built at first use; a copy of the objective has its own."""
        return self.phases()

    def initialise(self) -> None:
        """Set initial weights from elsewhere, once before the first step; by default none.

        Raises:
            PyrodgmError: they cannot be read.
        """

    def begin(self, training: Sequences) -> None:
        """Set sizes from the training data, before the first step and on resume; by default none.

        This is for caches and chains. Parameters and averages must have their sizes from the
        constructor, because a fitted run is loaded without its data.
        """

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The validation score on held-out sequences; weights with the highest score are kept.

        By default it is the log-likelihood, or a bound on it with `validation_draws` draws, if
        model and guide have densities. Otherwise there is no score, and the last weights are kept.

        Args:
            sequences: a split.
            seed: of the draws; the global generator is left alone.

        Raises:
            NonFiniteError: the score is not finite.
        """
        if not has_bound(self.model, self.guide):
            return Validation()
        pair, draws = (self.model, self.guide), self.validation_draws
        return validate(*pair, sequences, particles=draws, seed=seed)

    def evaluated(self) -> dict[str, nn.Module]:
        """The modules whose weights are averaged and evaluated, by name: model and guide."""
        return {"model": self.model, "guide": self.guide}

    def samplers(self) -> Mapping[str, Sampler]:
        """Ways of drawing from the model with what was learned, by name; by default none.

        The last one stands for the model in `pyrodgm sample`. Each takes a batch of B sequences,
        whose observations it does not use, and gives draws in their shape, (B, T, D). Random fields
        with a generator have some, and games whose critic can revise draws.
        """
        return {}

    def forward(self, batch: Batch, phase: int = 0) -> Loss:
        """The loss of one phase; the entry point for device wrappers.

        Raises:
            UsageError: what is given is not a batch.
        """
        if not isinstance(batch, Batch):
            raise UsageError(
                f"{type(self).__name__} takes a batch, and is given {type(batch).__name__}; give "
                "pyrodgm.batch.Batch.of(x), with x of shape (B, T, D)"
            )
        return self.built_phases[phase].loss(batch)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy, without phases: these update this objective, and are built again."""
        return {key: value for key, value in vars(self).items() if key != "built_phases"}
