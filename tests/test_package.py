import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pyrodgm

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_folder_is_shipped():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("pyrodgm/**/__init__.py")}
    packages = {".".join(folder.parts) for folder in folders} | {"pyrodgm_cli"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    with_code = {path.parent.relative_to(ROOT) for path in ROOT.glob("pyrodgm/**/*.py")}
    assert with_code == folders


def test_type_hints_are_shipped():
    assert (ROOT / "pyrodgm" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["pyrodgm"]


def test_every_file_of_the_package_is_shipped():
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "pyrodgm").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            folder = next(p for p in path.parents if (p / "__init__.py").is_file())
            patterns = shipped.get(".".join(folder.relative_to(ROOT).parts), [])
            assert any(path in folder.glob(pattern) for pattern in patterns), path


def test_versions_agree():
    assert pyrodgm.__version__ == version("pyrodgm") == PROJECT["project"]["version"]


def test_the_command_is_installed_and_its_package_is_not_called_cli():
    (command,) = entry_points(group="console_scripts", name="pyrodgm")
    assert command.value == "pyrodgm_cli.main:main"


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    heavy = ("arviz", "lightning_fabric", "matplotlib", "pandas", "scipy", "xarray")
    code = f"import sys, pyrodgm.runs.run; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
