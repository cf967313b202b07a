"""Random fields that learn by the classification of data and draws of a noise distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.guides.from_models import ModelGuide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.field import FieldWithGuide, without_padding
from pyrodgm.storage.best import read_best


class NoiseContrast(FieldWithGuide):
    r"""The classification of data and noise by a random field with a learned log Z.

    .. math::
        J = \mathrm{E}_{m(x)} \log \sigma(r(x)) + \nu\, \mathrm{E}_{q(x)} \log \sigma(-r(x)), \qquad
        r(x) = \phi(x) - \zeta - \log q(x) - \log \nu

    where m is the distribution of data, or its mixture :math:`\alpha \tilde p + (1 - \alpha) q`
    with noise. J is largest where :math:`e^{\phi - \zeta}` is m, which is then normalised. Examples
    are frames, or whole sequences for a field over sequences; log Z is a number for each length,
    then, if the field says so.

    Args:
        model: a model with an unnormalised density.
        guide: the noise distribution q, over observations and with a density.
        noise_per_datum: draws of noise for each example :math:`\nu`.
        noise_from: folder of a run of the guide's model alone, such as `rnn-nade` by `ml` on the
            same data, with whose weights the guide starts.
        interpolation: :math:`\alpha`. The expectation over q in m is taken over the same draws.
    """

    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}),
        density=frozenset({"unnormalised"}),
        over="observations",
        by_frame=False,
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})
    headline: ClassVar[str] = "contrast_nats_per_example"
    usual_guide: ClassVar[str] = "marginals"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        noise_per_datum: int,
        noise_from: str | None,
        interpolation: float = 1.0,
    ) -> None:
        super().__init__(model, guide)
        self.noise_from = noise_from
        self.noise_per_datum, self.interpolation = noise_per_datum, interpolation
        self.log_z = self.field.free_log_normaliser()

    def initialise(self) -> None:
        """Set the weights of the noise to those of another run, if there is one.

        Raises:
            UsageError: the guide is not a model.
            RunFolderError: there is no such run.
            CheckpointError: its weights are of another model or of other sizes.
        """
        if self.noise_from is None:
            return
        if not isinstance(self.guide, ModelGuide):
            raise UsageError(
                f"noise_from is {self.noise_from}, but guide {type(self.guide).__name__} is not a "
                "model of observations; take rnn, rnn-nade or nade, or leave noise_from out"
            )
        read_best(self.noise_from, {"model": self.guide.program})

    def evaluated(self) -> dict[str, nn.Module]:
        """Model and guide, and the learned log Z, which belongs to the weights of the model."""
        return super().evaluated() | {"log_z": self.log_z}

    def contrast(self, batch: Batch) -> Loss:
        """Minus J, per sequence of the batch."""
        number = self.noise_per_datum
        both = batch.repeated(1 + number)
        around = both.without(batch.size)
        with torch.no_grad():
            drawn = self.noise.draw(around)
        nats = self._by_frame(torch.cat([batch.x, drawn]), both)
        of_data = self._examples(nats[: batch.size], batch) - math.log(number)
        of_noise = self._examples(nats[batch.size :], around) - math.log(number)
        value = _value(of_data, of_noise, number, self.interpolation)
        right = ((of_data > 0).sum() + (of_noise <= 0).sum()) / (len(of_data) + len(of_noise))
        report = {self.headline: value.detach(), "classified_correctly": right.detach()}
        sites = {"ratio of the data": of_data.detach(), "ratio of the noise": of_noise.detach()}
        return Loss(-value * (len(of_data) / batch.size), report, sites)

    def log_ratios(self, x: Tensor, batch: Batch) -> Tensor:
        r"""The log density ratio :math:`\phi - \zeta - \log q` of every example, (E,), in nats.

        Args:
            x: observations, (B, T, D).
            batch: with mask and conditions.
        """
        return self._examples(self._by_frame(x, batch), batch)

    def _by_frame(self, x: Tensor, batch: Batch) -> Tensor:
        """The log density ratio by frame, (B, T)."""
        return self.field.log_ratio(x, batch, self.noise) - self.log_z(batch)

    def _examples(self, nats: Tensor, batch: Batch) -> Tensor:
        """Numbers by frame, (B, T), as those of examples, (E,)."""
        if self.field.of_sequences:
            return nats.masked_fill(~batch.mask, 0.0).sum(-1)
        return without_padding(nats, batch)

    def held_out_contrast(self, sequences: Sequences, *, seed: int = 0) -> float:
        """J on held-out examples, with one set of draws of the noise."""
        number = self.noise_per_datum
        data: list[Tensor] = []
        noise: list[Tensor] = []
        with drawing(self.field, seed, "noise") as device:
            for rows, part in chunks(sequences.lengths, number, width=self.field.frame_size):
                batch = sequences.batch(rows).to(device)
                around = batch.repeated(part.stop - part.start)
                noise.append(self.log_ratios(self.noise.draw(around), around).double().cpu())
                if part.start == 0:
                    data.append(self.log_ratios(batch.x, batch).double().cpu())
        of_data, of_noise = (torch.cat(each) - math.log(number) for each in (data, noise))
        return float(_value(of_data, of_noise, number, 1.0))


def _value(of_data: Tensor, of_noise: Tensor, number: int, interpolation: float) -> Tensor:
    """J from the log-odds of data against noise at both."""
    value = interpolation * F.logsigmoid(of_data).mean() + number * F.logsigmoid(-of_noise).mean()
    if interpolation == 1.0:
        return value
    return value + (1 - interpolation) * F.logsigmoid(of_noise).mean()
