import os
from collections.abc import Callable
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Path of a real data file; skips where this machine has none."""
    folder = Path(os.environ.get("PYRODGM_TEST_DATA", DEFAULT))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no {name} in {folder}; set PYRODGM_TEST_DATA to the data folder")
        return folder / name

    return find
