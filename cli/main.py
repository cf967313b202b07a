"""The command `pyrodgm`: dispatches to subcommands, and maps errors to messages and exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings

import rich_click as click

# These are read when torch is imported, inside the commands. By default OpenMP's threads wait by
# spinning for milliseconds, which makes small steps up to a hundred times slower if anything else
# runs on the machine (docs/performance.md). With several processes, DDP would warn of every
# parameter that an objective does not use.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# Name of the command -> module with its function, imported only when called: torch takes seconds to
# import, and --help should be fast.
COMMANDS = (
    "fit",
    "evaluate",
    "predict",
    "sample",
    "check",
    "report",
    "compare",
    "study",
    "reproduce",
    "list",
    "data",
)

# Options to lower if a command runs out of memory.
SMALLER = {
    "fit": "--batch-size or the sizes of the model",
    "evaluate": "--particles",
    "predict": "--samples",
    "sample": "--num or --length",
    "check": "--draws or --posterior-draws",
}


class LazyGroup(click.RichGroup):
    """A group that imports a subcommand on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of a first session."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None if there is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pyrodgm_cli.{cmd_name}")
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command named by the first argument, or an error with the closest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(COMMANDS)}"
            raise click.UsageError(f"unknown command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyrodgm")
def group() -> None:
    """Fit, evaluate and check deep generative models.

    A model p, a guide q and an objective are chosen separately; `pyrodgm list` shows which fit
    together. Start with `pyrodgm fit --model tsbn`.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every expected error gives one message and its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    messages = Messages()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = messages.show
            options = {"prog_name": "pyrodgm", "standalone_mode": False, "obj": messages}
            code = group.main(args=arguments, **options)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = messages.say("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has closed it, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _explain(error, arguments[0] if arguments else "", messages)
        if code is None:
            raise
    sys.exit(code)


class Messages:
    """Messages of a command on stderr; warnings are shown once.

    Those of quadrature are shown once whatever their numbers, as every evaluation of a training has
    others.

    Attributes:
        silent: whether this is one of several processes, and not the first. Variables such as RANK
            do not say so alone, as they may number runs of their own.
    """

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.silent = False

    def of_processes(self, number: int) -> None:
        """Be silent if this is not the first of a number of processes."""
        rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
        self.silent = number > 1 and rank != "0"

    def say(self, message: str, code: int) -> int:
        """Print one message, and give the exit code back."""
        if not self.silent:
            click.echo(f"pyrodgm: {message}", err=True)
        return code

    def show(self, message: Warning | str, *_: object, **__: object) -> None:
        """Print a warning that was not shown before."""
        from pyrodgm.display import without_numbers
        from pyrodgm.errors import DataWarning, QuadratureWarning

        text = str(message)
        key = without_numbers(text) if isinstance(message, QuadratureWarning) else text
        if key not in self.texts:
            self.texts.add(key)
            self.say(f"{'note' if isinstance(message, DataWarning) else 'warning'}: {text}", 0)


def _explain(error: Exception, command: str, messages: Messages) -> int | None:
    """Print an expected error and return the exit code; None for an unexpected error."""
    from pyrodgm.access import is_denied, without_permission
    from pyrodgm.errors import Interrupted, NonFiniteError, PyrodgmError
    from pyrodgm.setup.userfile import place

    if isinstance(error, Interrupted | NonFiniteError) and messages.silent:
        return 0  # all stop together; the launcher would kill the first process if another failed
    if isinstance(error, PyrodgmError):
        return messages.say(str(error), error.exit_code)
    if where := place(error):
        return messages.say(where, 2)
    if isinstance(error, OSError) and is_denied(error):
        return messages.say(without_permission(error), 2)
    text = str(error)
    if messages.silent and "closed by peer" in text:
        return 1  # the first process has stopped and printed the reason
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text:
        reason = text.strip().partition("\n")[0]
        lower = f"; lower {SMALLER[command]}" if command in SMALLER else ""
        return messages.say(f"out of memory{lower} ({reason})", 2)
    return None
