"""Settings in TOML files: groups of options."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pyrodgm.errors import ConfigError, Mistakes

Values = dict[str, dict[str, Any]]


def parse_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def read_toml(path: Path) -> Values:
    """Nested values from a TOML file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a value outside of any group.
    """
    values = parse_toml(path)
    mistakes = Mistakes()
    for key, value in values.items():
        if not isinstance(value, dict):
            mistakes.add(
                f"{path}: '{key} = {value}' is outside of any group; "
                'expected a line such as [model], followed by name = "tsbn"'
            )
    mistakes.raise_if_any()
    return values
