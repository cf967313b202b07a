"""A study as it is written: candidates, options, seeds, on one dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pyrodgm.errors import ConfigError, Mistakes, PyrodgmError, did_you_mean
from pyrodgm.setup.config import RunConfig, resolve
from pyrodgm.setup.settings import merge
from pyrodgm.storage.toml import Values, parse_toml
from pyrodgm.studies.scoring import Scoring

NAMED = ("model", "guide", "objective")
OF_ALL = ("data", *NAMED, "fit", "grid", "seeds", "processes", "evaluate", "candidate")
OF_ONE = ("name", *NAMED, "fit", "grid")
FIXED = {
    "seed": "give seeds = [0, 1, 2] at the top of the file",
    "devices": "every run of a study has one device; give processes = N",
    "num_nodes": "every run of a study has one device; give processes = N",
}


@dataclass(frozen=True)
class Candidate:
    """A model, a guide, an objective and their options.

    Args:
        name: in tables and figures.
        values: nested values of its configuration, without a seed.
    """

    name: str
    values: Values

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return re.sub(r"(?:[^\w.=]|_)+", "-", self.name.lower()).strip("-.")

    def config(self, seed: int) -> RunConfig:
        """The configuration of one run."""
        return resolve(self.seeded(seed))

    def seeded(self, seed: int) -> Values:
        """The values of one run."""
        return merge(self.values, {"fit": {"seed": seed}})


@dataclass(frozen=True)
class Plan:
    """The runs of a study.

    Args:
        candidates: to compare.
        seeds: of the runs of each.
        processes: runs at the same time; None for one per core or device.
        scoring: how runs are evaluated after training; None for what the fit itself reports.
    """

    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]
    processes: int | None = None
    scoring: Scoring | None = None


def read_plan(path: Path) -> Plan:
    """The plan in a TOML file; see docs/studies.md.

    Raises:
        ConfigError: lists every mistake, with the candidate in which it is.
    """
    return plan_of(parse_toml(path), str(path))


def plan_of(values: Mapping[str, Any], source: str) -> Plan:
    """The plan of nested values.

    Args:
        values: as in the file.
        source: name of the file, for messages.

    Raises:
        ConfigError: lists every mistake, with the candidate in which it is.
    """
    mistakes = Mistakes()
    _check_keys(values, OF_ALL, source, mistakes)
    seeds = _seeds(values.get("seeds", [0]), mistakes)
    processes = values.get("processes")
    if processes is not None and not (_is_int(processes) and processes >= 1):
        mistakes.add(f"processes = {processes!r}: expected a number of at least 1")
    scoring = Scoring.read(values.get("evaluate"), mistakes)
    given = values.get("candidate", [{}])
    if not (isinstance(given, list) and given and all(isinstance(each, dict) for each in given)):
        mistakes.add(f"{source}: candidates are written as [[candidate]], one after the other")
        given = []
    for each in given:
        _check_keys(each, OF_ONE, f"[[candidate]] {each.get('name', '')}".strip(), mistakes)
    mistakes.raise_if_any()
    candidates = [found for each in given for found in _candidates(values, each, mistakes)]
    _check_names(candidates, mistakes)
    for candidate in candidates:
        try:
            candidate.config(seeds[0])
        except PyrodgmError as error:
            mistakes.add(f"candidate '{candidate.name}': {error}")
    mistakes.raise_if_any()
    return Plan(tuple(candidates), tuple(seeds), processes, scoring)


def _candidates(
    of_all: Mapping[str, Any], own: Mapping[str, Any], mistakes: Mistakes
) -> Iterator[Candidate]:
    """A candidate, once for every combination of the values in its grid."""
    values = merge(_groups(of_all, mistakes), _groups(own, mistakes))
    for key, instead in FIXED.items():
        if key in values.get("fit", {}):
            mistakes.add(f"fit.{key}: {instead}")
    of_own = _groups(own, Mistakes())
    names = [str(of_own[group]["name"]) for group in NAMED if "name" in of_own.get(group, {})]
    name = own.get("name") or "-".join(names) or "default"
    grid = merge(*(_grid(each.get("grid", {}), mistakes) for each in (of_all, own)))
    places = [(group, key) for group, listed in grid.items() for key in listed]
    for chosen in product(*(grid[group][key] for group, key in places)):
        options = [(*place, value) for place, value in zip(places, chosen, strict=True)]
        layers = [{group: {key: value}} for group, key, value in options]
        words = [f"{group}.{key}={value}" for group, key, value in options]
        yield Candidate(", ".join([str(name), *words]), merge(values, *layers))


def _groups(given: Mapping[str, Any], mistakes: Mistakes) -> Values:
    """Groups of options, where a name alone stands for a group with that name."""
    groups: Values = {}
    for group in ("data", *NAMED, "fit"):
        value = given.get(group)
        if isinstance(value, str) and group != "fit":
            groups[group] = {"source" if group == "data" else "name": value}
        elif isinstance(value, dict):
            groups[group] = value
        elif value is not None:
            mistakes.add(f"{group} = {value!r}: expected a name or a group of options")
    return groups


def _grid(given: Any, mistakes: Mistakes) -> dict[str, dict[str, list[Any]]]:
    """Values to combine, by group and key."""
    found: dict[str, dict[str, list[Any]]] = {}
    if not isinstance(given, dict):
        mistakes.add(f"grid = {given!r}: expected lines such as fit.lr = [0.001, 0.01]")
        return found
    for group, options in given.items():
        if group not in (*NAMED, "fit") or not isinstance(options, dict):
            mistakes.add(f"grid.{group}: expected a line such as fit.lr = [0.001, 0.01]")
            continue
        for key, listed in options.items():
            if group == "fit" and key in FIXED:
                mistakes.add(f"grid.fit.{key}: {FIXED[key]}")
            elif isinstance(listed, list) and listed:
                found.setdefault(group, {})[key] = listed
            else:
                mistakes.add(f"grid.{group}.{key} = {listed!r}: expected a list of values")
    return found


def _seeds(given: Any, mistakes: Mistakes) -> list[int]:
    fine = isinstance(given, list) and given and all(_is_int(s) and s >= 0 for s in given)
    if not fine or len(set(given)) < len(given):
        mistakes.add(f"seeds = {given!r}: expected different integers >= 0, such as [0, 1, 2]")
        return [0]
    return given


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_keys(
    given: Mapping[str, Any], known: tuple[str, ...], where: str, mistakes: Mistakes
) -> None:
    for key in given:
        if key not in known:
            mistakes.add(f"{where}: '{key}' is not known here; {did_you_mean(key, known)}")


def _check_names(candidates: list[Candidate], mistakes: Mistakes) -> None:
    """Names must differ in their folders too."""
    seen: dict[str, str] = {}
    for candidate in candidates:
        if candidate.slug in seen:
            mistakes.add(
                f"two candidates are named '{seen[candidate.slug]}' and '{candidate.name}'; "
                'give them different names: name = "..."'
            )
        seen[candidate.slug] = candidate.name


def check_one_dataset(plan: Plan) -> None:
    """Refuse candidates of models with different default data.

    Raises:
        ConfigError: the candidates would be trained on different data.
    """
    found = {}
    for candidate in plan.candidates:
        data = candidate.config(plan.seeds[0]).data
        found.setdefault((data.name, str(dict(data.options))), candidate.name)
    if len(found) > 1:
        by = "; ".join(f"{name}: {data}" for (data, _), name in found.items())
        raise ConfigError(
            f"a study is on one dataset, but the candidates have different ones ({by}); give "
            'data = "NAME" at the top of the file'
        )
