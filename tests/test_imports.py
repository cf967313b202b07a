"""Imports go only down the folders of the design."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [
    {"cli"},
    {"package"},  # pyrodgm/__init__.py, which re-exports
    {"report", "reproduce", "studies"},
    {"runs"},
    {"train"},
    {"figures", "setup"},
    {"objectives"},
    {"evaluate"},
    {"guides"},
    {"models"},
    {"networks", "storage"},
    {"engine", "data"},
    {"distributions"},
    {"ground"},  # single files: batch, errors, schema, seeds and the like
]
RANK = {name: rank for rank, level in enumerate(FOLDERS) for name in level}
FILES = sorted([*ROOT.glob("pyrodgm/**/*.py"), *ROOT.glob("cli/*.py")])


def folder(module: str) -> str:
    """The folder of a module such as pyrodgm.engine.past."""
    if module.startswith("pyrodgm_cli"):
        return "cli"
    first, *rest = module.removeprefix("pyrodgm").lstrip(".").split(".")
    if not first:
        return "package"
    return first if rest or (ROOT / "pyrodgm" / first).is_dir() else "ground"


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    names = [name for name in parts if name != "__init__"]
    return ".".join(["pyrodgm_cli", *names[1:]] if names[0] == "cli" else names)


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules of the package that a file imports when it runs, wherever in the file it does."""
    modules = set()
    tree = ast.parse(path.read_text())
    types = {part for node in ast.walk(tree) if only_types(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules |= {resolved(f"{node.module}.{alias.name}") for alias in node.names}
    return frozenset(m for m in modules if m.split(".")[0] in ("pyrodgm", "pyrodgm_cli"))


def only_types(node: ast.AST) -> bool:
    """Whether it is a block that runs for type checkers alone."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def resolved(name: str) -> str:
    """A module, from a module or from a name in it."""
    path = ROOT / name.replace(".", "/")
    known = path.is_dir() or path.with_suffix(".py").exists()
    return name if known else name.rpartition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    here = folder(module_of(path))
    upward = [
        module
        for module in imported(path)
        if folder(module) != here and RANK[folder(module)] <= RANK[here]
    ]
    assert not upward, f"{here} imports {upward}, which is not below it"


def test_files_import_each_other_in_one_direction():
    known = {module_of(path): {*imported(path)} for path in FILES}
    while free := [name for name, uses in known.items() if not uses & known.keys() - {name}]:
        known = {name: uses for name, uses in known.items() if name not in free}
    assert not known, f"imports in a circle: {sorted(known)}"


def test_guides_know_models_only_where_they_are_models():
    of_models = {
        path.name
        for path in FILES
        if folder(module_of(path)) == "guides"
        and any(folder(module) == "models" for module in imported(path))
    }
    assert of_models == {"from_models.py", "with_latents.py"}
