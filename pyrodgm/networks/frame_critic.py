"""Critics of single frames: dense or convolutional, with or without labels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import join
from pyrodgm.errors import UsageError
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.mlp import relu_network
from pyrodgm.networks.pictures import Channels, PictureEncoder, conv_channels

CriticNetwork = Literal["dense", "conv", "attention"] | Channels
Labels = Literal["concat", "projection", "auxiliary"]
LEAK = 0.2  # slope of rectified units of convolutions below zero


class Critic(nn.Module):
    r"""A number V(x, c) for every frame x and its conditions c, from features :math:`\phi`.

    .. math::
        \text{concat: } & V = w^\top \phi(x, c) \\
        \text{projection: } & V = w^\top \phi(x) + c^\top U \phi(x) \\
        \text{auxiliary: } & V = w^\top \phi(x), \qquad
            \log p(c \mid x) = \log \mathrm{softmax}(A\, \phi(x) + a)_c

    There is no bias on top. The features are dense layers of rectified units over standardised
    inputs, or above convolutions of the picture with leaky units, without batch normalisation,
    which would tie the draws of a batch together. With ``attention``, there is self-attention above
    the first convolution. Given conditions join the features of a picture above its convolutions.

    Args:
        info: the data's facts.
        hidden_dim: units of every dense layer; a number is a single layer.
        network: "dense", "conv", "attention" (conv with attention), or channels of convolutions.
        labels: how the conditions, such as labels, are used, where there are any.

    Raises:
        DataError: convolutions, and frames are not pictures.
        UsageError: projection without conditions, or auxiliary without classes.

    Reference: Mirza and Osindero, Conditional GANs, 2014 (concat); Miyato and Koyama, cGANs with
    projection discriminator, 2018, equation 3, whose conditions are standardised here (projection);
    Odena, Olah and Shlens, Conditional image synthesis with auxiliary classifier GANs, 2017.
    """

    def __init__(
        self,
        info: DataInfo,
        hidden_dim: LayerSizes,
        *,
        network: CriticNetwork = "dense",
        labels: Labels = "concat",
    ) -> None:
        super().__init__()
        _refuse_labels(info, labels)
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        self.labels, self.num_classes = labels, len(info.classes)
        channels = conv_channels("conv" if network == "attention" else network)
        self.maps = None
        dim = self.inputs.dim
        if channels is not None:
            attends = network == "attention"
            self.maps = PictureEncoder(info, channels, leak=LEAK, attends=attends)
            dim = self.maps.dim
        given = self.conditions.dim if labels == "concat" else 0
        self.network = relu_network(dim + given, hidden_dim, 1, bias=False)
        features = layer_sizes(hidden_dim)[-1]
        if labels == "projection":
            self.projection = nn.Linear(self.conditions.dim, features, bias=False)
        if labels == "auxiliary":
            self.classifier = nn.Linear(features, self.num_classes)

    def of_inputs(self, inputs: Tensor, given: Tensor | None = None) -> Tensor:
        """Of standardised frames (..., D) and conditions (..., U), (...)."""
        features = self.features(inputs, given)
        value = self.network[-1](features).squeeze(-1)
        if self.labels == "projection" and given is not None:
            value = value + (self.projection(given) * features).sum(-1)
        return value

    def features(self, inputs: Tensor, given: Tensor | None) -> Tensor:
        """The features below the output, (..., H)."""
        units = inputs if self.maps is None else self.maps(inputs)
        if self.labels == "concat" and given is not None:
            units = join(units, given)
        for layer in list(self.network)[:-1]:
            units = layer(units)
        return units

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Of frames (..., B, T, D) under the conditions of a batch, (..., B, T)."""
        return self.of_inputs(self.inputs(x), self.conditions(batch))

    def log_class(self, inputs: Tensor, batch: Batch) -> Tensor:
        """The log-probability of the class of a batch given standardised frames, (..., B, T)."""
        assert batch.conditions is not None
        classes = batch.conditions[..., -self.num_classes :].argmax(-1)
        scores = self.classifier(self.features(inputs, None)).log_softmax(-1)
        places = classes[..., None].expand(*scores.shape[:-1], 1)
        return scores.gather(-1, places).squeeze(-1)


def _refuse_labels(info: DataInfo, labels: Labels) -> None:
    """Raise where the data lacks the labels that are to be used."""
    needed = {"projection": info.num_conditions, "auxiliary": len(info.classes)}
    if not needed.get(labels, 1):
        raise UsageError(
            f"labels is '{labels}', but '{info.name}' has no labels; fit with data.labels=true "
            "(--set data.labels=true) where there are any, or leave labels out"
        )
