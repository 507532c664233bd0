"""Options that commands share: declared once, the same everywhere, on every command."""

from __future__ import annotations

import sys
from dataclasses import fields
from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest

from accweight_core.cli import COMMAND_GROUP, app, commands, options
from accweight_core.cli.options import parsed_roles
from accweight_core.runs.selection import Selection

NAMES = [command.name or "" for command in commands.COMMANDS] + ["demo", "train", "view"]


def parameters(name: str) -> dict[str, Any]:
    """Return the parameters of a command as the application knows them."""
    group = app.application()
    with group.make_context("accweight", [name]) as context:
        command = group.get_command(context, name)
        if isinstance(command, app._Deferred):
            command = command.loaded()
        assert command is not None
    return {parameter.name: parameter for parameter in command.params}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_debug_and_json(name: str) -> None:
    assert {"debug", "json"} <= set(parameters(name))


@pytest.mark.parametrize("shared", ["json", "debug", "at", "by", "map", "per", "write_map"])
def test_an_option_that_commands_share_says_the_same_in_each(shared: str) -> None:
    found = [parameters(name).get(shared) for name in NAMES]

    assert len({(p.help, p.metavar, tuple(p.opts)) for p in found if p is not None}) == 1


@pytest.mark.parametrize("name", ["inspect", "analyze", "watch"])
def test_all_of_a_selection_can_be_told_on_the_command_line(name: str) -> None:
    told = set(parameters(name))

    expected = {field.name for field in fields(Selection)}
    expected -= {"storage_options", "mixed", "in_given_order"}  # fsspec's own settings; a map
    assert expected | {"given_order"} <= told


def test_options_become_the_selection_of_a_command_and_leave_its_others_alone() -> None:
    seen = {}

    @click.command()
    @options.source
    @options.takes_selection
    @options.as_json
    def look(source: tuple[str, ...], selection: Selection, *, json: bool) -> None:
        seen.update(source=source, selection=selection, json=json)

    arguments = "a --json --reader torch --skip x.* --group 2 --given-order"
    look.main(arguments.split(), standalone_mode=False)

    expected = Selection(reader="torch", skip=("x.*",), group="2", in_given_order=True)
    assert seen == {"source": ("a",), "selection": expected, "json": True}


@click.command()
@click.option("--name", default="world")
def hello(name: str) -> None:
    """Greet."""
    print(f"hello {name}")  # noqa: T201


@click.command()
@click.option("--debug", is_flag=True)
def stubborn(*, debug: bool) -> None:
    """Have an option of its own."""
    print("debug" if debug else "quiet")  # noqa: T201


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["hello", "--name", "you", "--debug"], "hello you\n"),
        (["hello", "--debug", "--name", "you"], "hello you\n"),
        (["stubborn", "--debug"], "debug\n"),
        (["stubborn"], "quiet\n"),
    ],
    ids=" ".join,
)
def test_commands_of_other_packages_take_debug_too(
    arguments: list[str],
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = arguments[0]
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    point = EntryPoint(name, f"{__name__}:{name}", COMMAND_GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [point])

    assert app.run(arguments) == 0

    assert capsys.readouterr().out == printed


def test_what_is_registered_as_a_command_and_is_none_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint("odd", "math:floor", COMMAND_GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [point])

    assert app.run(["odd"]) == 1

    assert "'odd' of another package is a builtin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wieght", "wieght is not a role; did you mean 'weight'? roles are bias, buffer, embedd"),
        ("wieght,nrom", "wieght, nrom are not roles; roles are bias, "),
        (" , ", "no role given; roles are bias, "),
    ],
)
def test_what_is_not_a_role_is_an_error_that_lists_the_roles(text: str, said: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parsed_roles(text)

    assert said in str(caught.value)
