"""Find and run a command, and turn errors into one line and an exit code."""

from __future__ import annotations

import ast
import errno
import io
import os
import sys
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from accweight_core.cli import COMMAND_GROUP, commands
from accweight_core.cli.options import with_debug
from accweight_core.errors import AccweightError, reason_of
from accweight_core.remote import without_secrets
from accweight_core.text import plain

UNEXPECTED = "unexpected {}: {}; run again with --debug and report what it shows"

UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF})
"""Error numbers of a failed write to an open stream."""


class _Deferred(click.Command):
    """A command of another package, which is imported only when it is run."""

    def __init__(self, point: EntryPoint) -> None:
        super().__init__(point.name)
        self._point = point

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the short help, parsed from the source so that --help imports nothing."""
        package, *rest = self._point.module.split(".")
        found = find_spec(package)
        folders = found.submodule_search_locations if found else None
        try:
            file = Path(next(iter(folders or ()))).joinpath(*rest).with_suffix(".py")
            nodes = ast.parse(file.read_text(encoding="utf-8")).body
        except (StopIteration, OSError, SyntaxError, ValueError):
            nodes = []
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and node.name == self._point.attr:
                self.help = ast.get_docstring(node)
        self.help = self.help or f"(provided by {package})"
        return str(super().get_short_help_str(limit))

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Load the real command and pass it the arguments."""
        return self.loaded().make_context(info_name, args, *rest, **extra)

    def loaded(self) -> click.Command:
        """Return the real command.

        Raises:
            AccweightError: If the registered object is not a click command.
        """
        command = self._point.load()
        if not isinstance(command, click.Command):
            raise AccweightError(
                f"the command {self._point.name!r} of another package is a "
                f"{type(command).__name__}; expected a click.Command at {self._point.value}"
            )
        return with_debug(command)


class _Commands(click.Group):
    """The commands of accweight, and those that other packages register."""

    @cached_property
    def _registered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=COMMAND_GROUP)}

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, those of accweight first."""
        own = super().list_commands(ctx)
        return own + sorted(set(self._registered) - set(own))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self._registered:
            return own
        return _Deferred(self._registered[cmd_name])


def application() -> click.Group:
    """Return the command-line application."""
    app = _Commands(
        name="accweight",
        callback=lambda: None,
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_show_version,
                help="Print the version and exit.",
            )
        ],
        help="Which layers of a network have moved, when and how much.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in commands.COMMANDS:
        app.add_command(with_debug(command))
    return app


def _show_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version as installed

        click.echo(f"accweight {installed('accweight')}")
        context.exit()


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack a character
            stream.reconfigure(errors="replace")
    try:
        application().main(arguments, prog_name="accweight")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except AccweightError as error:
        if "--debug" in arguments:
            raise
        return _fail(str(error))
    except OSError as error:
        if "--debug" in arguments:
            raise
        if error.filename is None and error.errno in UNWRITTEN:  # raised when click prints help
            return _fail(f"the output cannot be written ({reason_of(error)})")
        return _fail(UNEXPECTED.format(type(error).__name__, error))
    except MemoryError as error:
        if "--debug" in arguments:
            raise
        return _fail(f"memory ran out ({str(error) or 'no more is given'}); end other programs")
    except Exception as error:  # a bug; users see the traceback only with --debug
        if "--debug" in arguments:
            raise
        return _fail(UNEXPECTED.format(type(error).__name__, error))
    return 0


def _fail(message: str) -> int:
    with suppress(OSError):
        click.echo(f"accweight: {plain(without_secrets(' '.join(message.split())))}", err=True)
    _discard_unwritten()
    return 1


def _open_missing_streams() -> None:
    """Open the null device for stdout or stderr if the process started without them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _discard_unwritten() -> None:
    """Discard buffered output that cannot be written, as Python would fail to flush it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
