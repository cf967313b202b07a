"""Schemas of options, read from the signatures of constructors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, Self, Unpack, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from pyrodgm.errors import Mistakes, UsageError

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_ABSTRACT = "__isabstractmethod__"
_PLAIN = (bool, int, float, str, np.number, np.ndarray, type(None))

WORDS = {  # for errors of pydantic, where its own are not those of a configuration
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "tuple_type": "a list",
}


@dataclass(frozen=True)
class Parameter:
    """One configurable argument.

    Args:
        adapter: its type, checked by pydantic.
        default: its default, or `inspect.Parameter.empty`.
        words: that it may be, if its type names them.
    """

    adapter: TypeAdapter[Any]
    default: Any
    words: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@cache
def schema(target: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only arguments of a class or function, by name; untyped ones accept anything.

    Those that a constructor passes on by ``**name: Unpack[TypedDict]`` have the types and defaults
    of the constructor of the base class. A class that makes another one of its own ``options``
    names it in ``options_of``, whose options are then options of both.

    Raises:
        UsageError: an annotation cannot be understood.

    >>> from pyrodgm.models import TSBN
    >>> sorted(schema(TSBN))
    ['emission', 'hidden_dim', 'history', 'init_scale', 'nade_dim']
    """
    function = target.__init__ if isinstance(target, type) else target
    try:
        hints = get_type_hints(function, include_extras=True)
        own = {
            name: _parameter(hints.get(name, Any), argument.default)
            for name, argument in inspect.signature(function).parameters.items()
            if argument.kind is inspect.Parameter.KEYWORD_ONLY
        }
        made = getattr(target, "options_of", None)
        return {**(schema(made) if made else {}), **own, **_passed_on(target, hints)}
    except (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"cannot read the options of {target.__name__} ({reason}); annotate its keyword-only "
            "arguments with int, float, bool, str, tuples or Literals of these"
        ) from error


def _parameter(hint: Any, default: Any) -> Parameter:
    return Parameter(TypeAdapter(hint, config=_STRICT), default, tuple(_words(hint)))


def _words(hint: Any) -> list[str]:
    """The words of all Literals in a type.

    >>> _words(Literal["auto", "whole"] | int)
    ['auto', 'whole']
    """
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if isinstance(value, str)]
    return [word for part in get_args(hint) for word in _words(part)]


def _passed_on(target: Callable[..., Any], hints: dict[str, Any]) -> dict[str, Parameter]:
    """The arguments that a constructor passes on to that of the base class."""
    packed = next(
        (get_args(hint)[0] for hint in hints.values() if get_origin(hint) is Unpack), None
    )
    if packed is None or not isinstance(target, type):
        return {}
    owner = next(number for number, base in enumerate(target.__mro__) if "__init__" in vars(base))
    of_base = schema(target.__mro__[owner + 1])
    return {name: of_base[name] for name in packed.__annotations__}


def checked(path: str, parameter: Parameter, value: Any, mistakes: Mistakes) -> Any:
    """A value of the parameter's type, by the rules for JSON, where a list is read as a tuple."""
    try:
        return parameter.adapter.validate_json(json.dumps(value, default=_plain))
    except ValidationError as error:
        mistakes.add(f"{path} = {value!r}: {', or '.join(_reasons(error))}")
        return None


def _reasons(error: ValidationError) -> list[str]:
    """What is wrong with a value, each reason once; of a list, its items rather than its length."""
    details = error.errors()
    named = [detail for detail in details if detail["type"] != "string_pattern_mismatch"]
    details = named or details  # words say more than the pattern beside them
    places = {place[:size] for d in details for place in [d["loc"]] for size in range(len(place))}
    lengths = [d for d in details if d["type"] == "too_short" and d["loc"] in places]
    return [*dict.fromkeys(_reason(d) for d in details if d not in lengths)]


def _reason(detail: Mapping[str, Any]) -> str:
    """One reason, where pydantic's words are not those of a configuration."""
    if detail["type"] in WORDS:
        return f"Input should be {WORDS[detail['type']]}"
    if detail["type"] == "too_short":
        return f"Input should be a list of at least {detail['ctx']['min_length']}"
    return detail["msg"]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else str(value)


class Checked:
    """A class that checks its options at construction, as those of a configuration file.

    `options_given` are those that it was constructed with.

    Only values that a file can hold are checked; others are left to the constructor. Missing
    abstract methods are refused too, as by `abc.ABC`, whose metaclass conflicts with that of
    `pyro.nn.PyroModule`.

    Raises:
        ConfigError: lists every invalid value.
        UsageError: an abstract method is missing.
    """

    options_given: Mapping[str, Any] = MappingProxyType({})

    def __new__(cls, /, *_: Any, **options: Any) -> Self:
        """Check the options before the object is made."""
        if missing := unwritten(cls):
            raise UsageError(f"{cls.__name__} does not define {', '.join(missing)}")
        mistakes = Mistakes()
        for name, parameter in _readable(cls).items():
            if name in options and _is_plain(options[name]):
                checked(f"{cls.__name__}: {name}", parameter, options[name], mistakes)
        mistakes.raise_if_any()
        made = super().__new__(cls)
        object.__setattr__(made, "options_given", options)  # modules are not ready for attributes
        return made


def plain_options(made: Checked) -> dict[str, Any]:
    """The options of an object that a file can hold, with defaults for those not given."""
    found = {name: parameter.default for name, parameter in _readable(type(made)).items()}
    found |= made.options_given
    plain = {name: value for name, value in found.items() if _is_plain(value)}
    return json.loads(json.dumps(plain, default=_plain))


def unwritten(cls: type) -> list[str]:
    """Abstract methods that a class does not define."""
    found = (name for name in dir(cls) if getattr(getattr(cls, name, None), _ABSTRACT, False))
    return sorted(found)


def _readable(cls: type) -> dict[str, Parameter]:
    """The options of a class; empty if their annotations cannot be read."""
    try:
        return schema(cls)
    except UsageError:
        return {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
