"""Models, guides, objectives, datasets and training in words: what each is, and its options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from pyrodgm.errors import UsageError, did_you_mean
from pyrodgm.guides import GUIDES
from pyrodgm.models import Model
from pyrodgm.objectives import OBJECTIVES
from pyrodgm.schema import schema
from pyrodgm.setup.compat import companions_of, conflicts, registered
from pyrodgm.setup.config import with_defaults
from pyrodgm.setup.options import FitOptions
from pyrodgm.setup.registry import BASES, REGISTRIES, find
from pyrodgm.setup.userfile import is_own

# The block below "Args:", and in it the entries "name: text", whose further lines are indented.
_BLOCK = re.compile(r"^Args:\n((?:    .*\n?|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)
_REFERENCE = re.compile(r"^References?: (.*(?:\n.+)*)", re.MULTILINE)
_FORMULA = re.compile(r":math:`([^`]*)`")


@dataclass(frozen=True)
class Option:
    """One option of a part of a run.

    Args:
        name: as in ``--set group.name=value``.
        default: its default; `inspect.Parameter.empty` if it must be given.
        meaning: what it is, from the documentation of its class; empty if that says nothing.
    """

    name: str
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Description:
    """What a name stands for.

    Args:
        group: "model", "guide", "objective", "data" or "fit".
        name: the name.
        summary: in one sentence.
        reference: where it was published; empty if its documentation does not say.
        options: that it takes.
        companions: of a model, its default guide, objective and data, by group.
        training: defaults of training that it changes, by name; of a model, with its objective.
        fits: of a model, the objectives that fit it; of a guide or an objective, the models.
    """

    group: str
    name: str
    summary: str
    reference: str
    options: tuple[Option, ...]
    companions: dict[str, str]
    training: dict[str, Any]
    fits: tuple[str, ...]


def describe(name: str) -> list[Description]:
    """What a name stands for, in every group that has it.

    Args:
        name: a registered name, "fit" for the options of training, or ``path/to/file.py:Class``.

    Raises:
        UsageError: no such name.

    >>> [(each.group, each.options[0].name) for each in describe("vrnn")]
    [('model', 'latent_dim'), ('guide', 'hidden_dim')]
    """
    found = list(_named(name))
    if not found:
        known = {each for registry in REGISTRIES.values() for each in registry}
        hint = did_you_mean(name, known | {"models", "guides", "objectives", "fit"})
        raise UsageError(f"unknown name '{name}'; {hint}")
    return [_description(group, name, target) for group, target in found]


def _named(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Groups and classes (for data: loaders) of a name."""
    if name == "fit":
        yield "fit", FitOptions
    elif is_own(name):
        yield _own(name)
    for group, registry in REGISTRIES.items():
        if name in registry:
            yield group, registry[name]


def _own(name: str) -> tuple[str, type]:
    """The group and class of a name in a user's file."""
    reasons = []
    for group in BASES:
        try:
            return group, find(group, name)
        except UsageError as error:
            reasons.append(str(error))
    raise UsageError("\n".join(dict.fromkeys(reasons)))


def _description(group: str, name: str, target: Callable[..., Any]) -> Description:
    text = inspect.cleandoc(target.__doc__ or "")
    published, meant = _REFERENCE.search(text), meanings(target)
    options = tuple(
        Option(key, parameter.default, _with_words(meant.get(key, ""), parameter.words))
        for key, parameter in schema(target).items()
    )
    training, companions = dict(getattr(target, "fit_defaults", {})), {}
    if isinstance(target, type) and issubclass(target, Model):
        usual = companions_of(target.form())
        companions = {"guide": usual.guide, "objective": usual.objective, "data": usual.data}
        training = with_defaults(target, OBJECTIVES[usual.objective], {})
    return Description(
        group=group,
        name=name,
        summary=_plain(text.split("\n\n", maxsplit=1)[0]),
        reference=_plain(published[1]) if published else "",
        options=options,
        companions=companions,
        training=training,
        fits=tuple(dict.fromkeys(_fitting(group, target))),
    )


def _fitting(group: str, target: Any) -> Iterator[str]:
    """Names of the objectives that fit a model, or of the models that fit a guide or objective."""
    if group not in BASES:
        return
    models = {key: form for key, (_, form) in registered().items()}
    given = {group: {"": target.form() if group == "model" else target}}
    choices = {"model": models, "guide": GUIDES, "objective": OBJECTIVES, **given}
    for model, guide, objective in product(*choices.values()):
        triple = choices["model"][model], choices["guide"][guide], choices["objective"][objective]
        if not any(conflicts(*triple)):
            yield objective if group == "model" else model


def meanings(target: Callable[..., Any]) -> dict[str, str]:
    """What the arguments of a class or function are, from its documentation and its bases'.

    >>> def area(width: float) -> float:
    ...     '''The area of a square.
    ...
    ...     Args:
    ...         width: of a side,
    ...             in metres.
    ...     '''
    >>> meanings(area)
    {'width': 'of a side, in metres.'}
    """
    found = meanings(made) if (made := getattr(target, "options_of", None)) else {}
    for owner in reversed(target.__mro__) if isinstance(target, type) else [target]:
        block = _BLOCK.search(inspect.cleandoc(owner.__doc__ or ""))
        for names, text in _ENTRY.findall(block[1]) if block else []:
            found.update(dict.fromkeys(names.split(", "), _plain(text)))
    return found


def _with_words(meaning: str, words: tuple[str, ...]) -> str:
    """A meaning that names all words that an option may be.

    >>> _with_words("the device.", ("cpu", "cuda"))
    'the device. One of "cpu", "cuda".'
    """
    quoted = [f'"{word}"' for word in words]
    if not meaning or all(word in meaning for word in quoted):
        return meaning
    return f"{meaning} One of {', '.join(quoted)}."


def _plain(text: str) -> str:
    r"""Text on one line, where formulas have no markup.

    >>> print(_plain(r"the ``factor`` :math:`\gamma`"))
    the `factor` gamma
    """
    found = " ".join(text.split()).replace("``", "`")
    return _FORMULA.sub(lambda formula: formula[1].replace("\\", ""), found)
