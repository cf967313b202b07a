"""Random fields over whole sequences of any length."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.engine.past import join
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.bitwise import MOST_BITS, states_of_bits
from pyrodgm.models.energies import Noise
from pyrodgm.models.energy import EnergyModel
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.lengths import (
    Lengths,
    LogNormaliserByLength,
    LogNormaliserOfSequences,
    at_first_frame,
)
from pyrodgm.networks.sequence_potentials import PotentialName, make_potential

Share = Annotated[float, Field(ge=0, lt=1)]
Nats = Annotated[float, Field(gt=0)]


@final
class SequenceField(EnergyModel):
    r"""A random field over whole sequences of any length: a trans-dimensional random field.

    .. math::
        p(l, x_{1:l}) = \frac{\pi_l}{Z_l} \exp u(x_{1:l}), \qquad
        u(x) = f(x) \;\; [+ \log q(x)]

    with f a network over time. :math:`\pi` are the frequencies of lengths in training, smoothed by
    one more observation that is spread over all lengths (`pyrodgm.networks.lengths.Lengths`). With
    ``log_z="shared"``, one Z takes the place of all :math:`Z_l`; the probability of a length then
    depends on u too. With a `limit` c, :math:`c \tanh(f / c)` takes the place of f.

    With ``reference="noise"`` the field is a residual of the noise distribution q, that is, of the
    guide: f = 0, which is where it starts, is exactly q. With a q that learns, the field changes
    with it. With a limit, the weights of its draws are between :math:`e^{-c}` and :math:`e^c`, and
    Z can be estimated by them. Otherwise it starts at the uniform distribution.

    Where frames have conditions, u is also a function of those, and Z of every sequence depends on
    them.

    The potential of a sequence is given at its first frame, and is zero at the others, except for
    :math:`\log q`, which is given by frame. Log-likelihoods are those of x given l, that is,
    :math:`u(x) - \log Z`: :math:`\log \pi_l` is given separately, by `lengths`.

    Args:
        info: the data's facts; its features are D.
        network: f: rectified layers over a recurrence ("recurrent") or over one in each direction
            ("bidirectional"), convolutions over time ("conv"), or a linear function of frames and
            of products of features of two frames ("features").
        hidden_dim: units of a recurrence and then of the rectified layers above it, or channels of
            each convolution; not used by "features".
        history: of "conv", frames on each side; of "features", largest distance of two frames.
        dropout: share of the highest units of a recurrence or convolution dropped at random in
            training.
        reference: "noise" for a residual of the noise distribution, or "none".
        log_z: "by-length", or "shared" for all lengths.
        limit: bound c of f in nats per sequence; none if not given.

    Shapes: ``x`` (B, T, D).

    Raises:
        DataError: values are missing or grey, or are not bits or symbols without a reference.
        UsageError: products of real numbers, whose density may not be normalisable, or a shared
            normaliser with conditions.

    Reference: Wang, Ou and Tan, Learning trans-dimensional random fields with applications to
    language modeling, 2017; Wang and Ou, Language modeling with neural trans-dimensional random
    fields, 2017; residual fields: Deng et al., Residual energy-based models for text generation,
    2020. The potential as a sum over frames of a network, and its limit, are ours.
    """

    traits: ModelTraits = ModelTraits(
        latents="none", sequential=True, density="unnormalised", conditions=True, chains=False
    )
    companions: ClassVar[Companions] = Companions("marginals", "nce", "jsb")
    of_sequences: ClassVar[bool] = True

    def __init__(
        self,
        info: DataInfo,
        *,
        network: PotentialName = "bidirectional",
        hidden_dim: LayerSizes = (64, 64),
        history: Annotated[int, Field(ge=0)] = 2,
        dropout: Share = 0.0,
        reference: Literal["noise", "none"] = "noise",
        log_z: Literal["by-length", "shared"] = "by-length",
        limit: Nats | None = None,
    ) -> None:
        super().__init__(info)
        _refuse(info, network, reference, log_z)
        self.history = 0
        self.log_z = log_z
        self.limit = limit
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        dim, sizes = self.inputs.dim + self.conditions.dim, layer_sizes(hidden_dim)
        self.network = make_potential(network, dim, sizes, history=history, dropout=dropout)
        self.lengths = Lengths(info.max_length)
        self.residual = reference == "noise"
        self._noise: tuple[Noise, ...] = ()  # in a tuple, which registers no submodule

    def begin(self, splits: Splits, seed: int) -> None:
        """Count the lengths of the training sequences."""
        del seed
        self.lengths.count(splits.training.lengths)

    def over(self, noise: Noise) -> None:
        """Take the distribution q of which this is a residual, if it is one."""
        self._noise = (noise,) if self.residual else ()

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The potential by frame, (..., B, T), of sequences (..., B, T, D); see the class."""
        flat = _flat(x, batch)
        nats = at_first_frame(self._network(flat), batch.length)
        if self.residual:
            nats = nats + self._reference().log_prob(flat.x, flat)
        return nats.view(x.shape[:-1])

    def log_ratio(self, x: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """The potential minus the noise's log-density; of a residual it is the network alone."""
        if not (self.residual and noise is self._reference()):
            return super().log_ratio(x, batch, noise)
        flat = _flat(x, batch)
        return at_first_frame(self._network(flat), batch.length).view(x.shape[:-1])

    def free_log_normaliser(self) -> nn.Module:
        """Log Z as parameters, of every length or one for all, with those of f = 0 as a start."""
        per_frame = 0.0
        if not self.residual:
            bits = ((0, 1),) * self.info.dim
            symbols = self.info.symbols if self.info.kind == "categorical" else bits
            per_frame = sum(math.log(len(own)) for own in symbols)
        if self.log_z == "by-length":
            return LogNormaliserByLength(self.info.max_length, self.info.mean_length, per_frame)
        lengths = torch.arange(1, self.info.max_length + 1)
        start = (self.lengths(lengths) + per_frame * lengths).logsumexp(0)
        return LogNormaliserOfSequences(float(start))

    @property
    def enumerable(self) -> bool:
        """Whether `log_normalisers` can be computed: for sequences of at most 16 bits in all."""
        return self.info.kind == "binary" and self.info.max_length * self.info.dim <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        """Refused: frames have none.

        Raises:
            CompatibilityError: always.
        """
        raise CompatibilityError(
            f"frames of {type(self).__name__} have no log Z, only whole sequences: "
            "log_normalisers(batch) gives those of a batch"
        )

    def log_normalisers(self, batch: Batch) -> Tensor:
        """The exact log Z of every sequence at its first frame, and zero elsewhere, (B, T).

        Every sequence of the same length and conditions is enumerated. In double precision.

        Raises:
            CompatibilityError: there are too many, or values are not bits.
        """
        if not self.enumerable:
            raise CompatibilityError(
                f"sequences of '{self.info.name}' cannot be enumerated, which is for at most "
                f"{MOST_BITS} bits in all; --estimator importance estimates log Z"
            )
        each = [self._log_sum(batch, row) for row in range(batch.size)]
        return at_first_frame(torch.stack(each), batch.length)

    def _log_sum(self, batch: Batch, row: int) -> Tensor:
        """The exact log Z for one sequence of a batch, a scalar."""
        length = int(batch.lengths[row])
        conditions = None if batch.conditions is None else batch.conditions[row : row + 1]
        if self.log_z == "by-length":
            return self._log_sum_of(length, conditions)
        lengths = range(1, self.info.max_length + 1)
        each = torch.stack([self._log_sum_of(l, None) for l in lengths])
        return (self.lengths.log_probs + each).logsumexp(0)

    def _log_sum_of(self, length: int, conditions: Tensor | None) -> Tensor:
        """The log of the sum of exp u over all sequences of a length, under some conditions."""
        like = next(self.parameters()).new_zeros(length * self.info.dim)
        parts = []
        for states in states_of_bits(like):
            x = states.unflatten(-1, (length, -1))
            given = None if conditions is None else conditions[:, :length].expand(len(x), -1, -1)
            nats = self.potential(x, Batch.of(x, given))
            parts.append(nats.double().sum(-1).logsumexp(0))
        return torch.stack(parts).logsumexp(0)

    def _network(self, batch: Batch) -> Tensor:
        """The network f of every sequence, (B,)."""
        given = self.conditions(batch)
        v = self.inputs(batch.x)
        nats = self.network(v if given is None else join(v, given), batch)
        return nats if self.limit is None else self.limit * (nats / self.limit).tanh()

    def _reference(self) -> Noise:
        """The noise distribution q.

        Raises:
            CompatibilityError: there is none yet.
        """
        if not self._noise:
            raise CompatibilityError(
                "this field is a residual of a noise distribution, and has none yet: make an "
                "objective from it and a guide over observations, call model.over(guide), or set "
                "model.reference=none"
            )
        return self._noise[0]


def _flat(x: Tensor, batch: Batch) -> Batch:
    """Sequences (..., B, T, D) as a batch with one dimension of sequences."""
    if x is batch.x:
        return batch
    copies = x.shape[:-2].numel() // batch.size
    if copies == 1:
        return replace(batch, x=x.reshape(batch.x.shape))
    conditions = None if batch.conditions is None else batch.conditions.repeat(copies, 1, 1)
    mask, index = batch.mask.repeat(copies, 1), batch.index.repeat(copies)
    return Batch(x.reshape(-1, *x.shape[-2:]), mask, index, conditions=conditions)


def _refuse(info: DataInfo, network: str, reference: str, log_z: str) -> None:
    """Raise where a field has no density, or none that is normalisable.

    Raises:
        DataError: of such values.
        UsageError: with such a network or normaliser.
    """
    if log_z == "shared" and info.num_conditions:
        raise UsageError(
            f"frames of '{info.name}' have conditions, and a normaliser that is shared by all "
            "lengths would need those of longer sequences; set model.log_z=by-length"
        )
    if info.has_missing or info.kind == "unit":
        what = "has missing values" if info.has_missing else "has grey values"
        raise DataError(
            f"'{info.name}' {what}; a sequence field scores complete sequences of bits, symbols, "
            "counts or real numbers"
        )
    if reference == "none" and info.kind not in ("binary", "categorical"):
        raise DataError(
            f"'{info.name}' has {info.kind} values, over which a field without a reference cannot "
            "be normalised; set model.reference=noise"
        )
    if network == "features" and info.kind == "real":
        raise UsageError(
            f"products of features of '{info.name}', which are real numbers, may not be "
            "normalisable; choose another model.network: recurrent, bidirectional or conv"
        )
