"""Imports go only down the list of the design."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    ["pyrodgm_cli"],
    ["pyrodgm"],  # the package itself re-exports
    ["reproduce"],
    ["report"],
    ["check", "fitting"],
    ["run"],
    ["questions", "recorder"],
    ["rundata"],
    ["pieces", "trivial", "stored"],
    ["build"],
    ["config", "nonfinite", "training", "folder", "optimisers", "trial"],
    [
        "registry",
        "compat",
        "devices",
        "environment",
        "export",
        "findings",
        "forecast_files",
        "results",
    ],
    ["evaluate", "options", "settings", "userfile", "checkpoint"],
    ["objectives"],
    ["frames"],
    ["stepwise"],
    ["dependence", "layout"],
    ["traces"],
    ["models", "guides"],
    ["networks", "distributions", "sequences", "path", "rollout", "chains", "data"],
    ["past", "weights"],
    ["batch", "seeds", "files"],
    ["schema"],
    ["lags", "display", "errors", "interrupts", "turns"],
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = sorted([*ROOT.glob("pyrodgm/**/*.py"), *ROOT.glob("cli/*.py")])


def part_of(path: Path) -> str:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return "pyrodgm_cli" if folder == "cli" else rest[0].replace("__init__", "pyrodgm")


def imported(path: Path) -> set[str]:
    """Parts of the package that a file imports, wherever in the file it does."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = [name.split(".") for name in modules if name.split(".")[0] in ("pyrodgm", "pyrodgm_cli")]
    return {"pyrodgm_cli" if name[0] == "pyrodgm_cli" else [*name, "pyrodgm"][1] for name in own}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    part = part_of(path)
    for name in {part, *imported(path)}:
        assert name in RANK, f"give '{name}' its place in LAYERS"
    upward = [name for name in imported(path) if name != part and RANK[name] < RANK[part]]
    assert not upward, f"{part} imports {upward} from above"


@pytest.mark.parametrize(("one", "other"), [("models", "guides"), ("guides", "models")])
def test_models_and_guides_do_not_know_each_other(one, other):
    for path in ROOT.glob(f"pyrodgm/{one}/*.py"):
        assert other not in imported(path)
