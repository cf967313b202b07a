"""The folder of a run that one or several processes train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pyrodgm.arguments import as_path
from pyrodgm.errors import UsageError
from pyrodgm.setup.options import FitOptions
from pyrodgm.storage.files import alone, temporary_folder
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.devices import is_first_process

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def folder_at(out: str | Path | None) -> RunFolder:
    """A new run folder at a path, or a temporary one."""
    return RunFolder.create(as_path(out, "the run folder") if out else temporary_folder())


@contextmanager
def begun(
    make: Callable[[], RunFolder], text: str, options: FitOptions
) -> Iterator[RunFolder | None]:
    """A new, locked folder with a configuration, in the first process; None in the others."""
    if not is_first_process(options):
        yield None
        return
    folder = make()
    with alone(folder.path):
        folder.begin(text)
        yield folder


def held(folder: RunFolder, options: FitOptions) -> AbstractContextManager[None]:
    """Lock a folder against training by others; done by the first process."""
    return alone(folder.path) if is_first_process(options) else nullcontext()


def shared_path(fabric: Fabric, folder: RunFolder | None) -> Path:
    """The path of the run folder, sent by the first process to the others."""
    path = fabric.broadcast("" if folder is None else str(folder.path))
    if not path:
        raise UsageError(
            "no process of this run is the first; the variables RANK, LOCAL_RANK and SLURM_PROCID "
            "are set, but not by a launcher of this run: unset them"
        )
    return Path(path)
