"""A classifier of rows, trained on the labelled data of a run and kept for later evaluations."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pyrodgm.data import local
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.labels import classes_of
from pyrodgm.errors import DataError, UsageError
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.mlp import relu_network
from pyrodgm.networks.pictures import PictureEncoder
from pyrodgm.seeds import forked
from pyrodgm.storage.files import replacing

STEPS, BATCH, RATE = 1500, 100, 2e-3
HIDDEN = 128
AT_ONCE = 1000  # rows classified together
FOLDER = "classifiers"  # in the library's cache


class RowClassifier(nn.Module):
    r"""Probabilities of classes, by two hidden layers, the first of convolutions for pictures.

    .. math:: p(y \mid x) = \mathrm{softmax}(f(x))

    Args:
        info: facts of the data.
        classes: number of classes C.
    """

    def __init__(self, info: DataInfo, classes: int) -> None:
        super().__init__()
        self.inputs = Inputs(info)
        self.pictures = PictureEncoder(info, (16, 32)) if info.image_shape else None
        dim = self.inputs.dim if self.pictures is None else self.pictures.dim
        hidden = HIDDEN if self.pictures is not None else (HIDDEN, HIDDEN)
        self.network = relu_network(dim, hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of classes, (N, D) to (N, C)."""
        x = self.inputs(x)
        return self.network(x if self.pictures is None else self.pictures(x))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Args:
        module: gives logits of rows as batches hold them.
        classes: names of the classes, in the order of the logits.
        source: what the labels are.
    """

    module: RowClassifier
    classes: tuple[str, ...]
    source: str

    def probabilities(self, x: Tensor) -> np.ndarray:
        """Probabilities of classes for rows as batches hold them, (N, D) to (N, C)."""
        with torch.no_grad():
            parts = [self.module(part).softmax(-1) for part in x.split(AT_ONCE)]
        return torch.cat(parts).double().numpy()

    def accuracy(self, x: Tensor, labels: np.ndarray) -> float:
        """The share of rows whose most probable class is their label."""
        chosen = np.array(self.classes)[self.probabilities(x).argmax(1)]
        return float((chosen == labels).mean())


def labels_of(sequences: Sequences, info: DataInfo) -> tuple[np.ndarray, str] | None:
    """The class of every frame, (frames,) words, and what it is; None if it is not known.

    The labels of the data, its last conditions if these are labels, or else the nearest known mode.

    Args:
        sequences: of the data.
        info: its facts.
    """
    if sequences.labels is not None:
        return sequences.labels, "labels"
    if info.classes and sequences.conditions is not None:
        coded = sequences.conditions[:, -len(info.classes) :].argmax(1)
        return np.array(info.classes)[coded.numpy()], "labels"
    if info.modes and not sequences.has_missing:
        apart = torch.cdist(sequences.x.double(), torch.tensor(info.modes, dtype=torch.float64))
        return apart.argmin(1).numpy().astype(str), "nearest modes"
    return None


def classifier(training: Sequences, info: DataInfo, *, seed: int = 0) -> Classifier:
    """A classifier of the rows of training data, trained or from the cache of an earlier call.

    Args:
        training: independent rows with labels, see `labels_of`.
        info: facts of the data.
        seed: of the initial weights and of batches.

    Raises:
        UsageError: the data has no labels.
        DataError: there are fewer than two classes, or more than a thousand.
    """
    found = labels_of(training, info)
    if found is None:
        raise UsageError(
            f"'{info.name}' has no labels to train a classifier with; give the file an array "
            "train_labels, (frames,)"
        )
    labels, source = found
    classes = classes_of(labels.tolist())
    if len(classes) < 2:
        raise DataError(
            f"all rows of '{info.name}' have the label '{''.join(classes)}'; a classifier needs two"
        )
    with forked(seed, "classifier"):
        made = Classifier(RowClassifier(info, len(classes)), classes, source)
        place = local.cache() / FOLDER / f"{_digest(training, labels, seed)}.safetensors"
        if not _restored(made.module, place):
            _train(made, training, labels)
            _keep(made.module, place)
    return made


def _train(made: Classifier, training: Sequences, labels: np.ndarray) -> None:
    """Minimise the cross-entropy by Adam with a falling learning rate."""
    places = {name: place for place, name in enumerate(made.classes)}
    targets = torch.tensor([places[label] for label in labels.tolist()])
    x, module = training.centred(training.x), made.module
    adam = torch.optim.Adam(module.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.02, STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randint(len(targets), (min(BATCH, len(targets)),))
            adam.zero_grad()
            F.cross_entropy(module(x[rows]), targets[rows]).backward()
            adam.step()
            falling.step()


def _digest(training: Sequences, labels: np.ndarray, seed: int) -> str:
    """What a classifier depends on: rows, labels, protocol and seed."""
    digest = hashlib.sha256(local.content_sha256(training).encode())
    digest.update("\0".join(labels.tolist()).encode())
    digest.update(str((STEPS, BATCH, RATE, HIDDEN, seed)).encode())
    return digest.hexdigest()[:32]


def _restored(module: RowClassifier, place: Path) -> bool:
    """Whether the weights in a file could be loaded."""
    if not place.is_file():
        return False
    with suppress(SafetensorError, OSError, RuntimeError):
        module.load_state_dict(load_file(place))
        return True
    return False


def _keep(module: RowClassifier, place: Path) -> None:
    """Store the weights, where the cache can be written."""
    with suppress(OSError, UsageError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as unfinished:
            unfinished.write_bytes(save(module.state_dict()))
