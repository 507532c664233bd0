"""The command that was given, as text that a shell takes: for pages that say how they were made."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click
from click.core import ParameterSource


def command_line(
    but: Iterable[str] = (), instead: Mapping[str, tuple[str, ...]] | None = None
) -> str:
    """Return the command being run, with the options that were given.

    Args:
        but: Parameters to leave out.
        instead: Values of parameters other than those that were given.
    """
    context = click.get_current_context()
    words = ["accweight", *filter(None, [context.info_name])]
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in but or not is_given:
            continue
        value = (instead or {}).get(name, context.params.get(name))
        if isinstance(parameter, click.Argument):
            words += [str(one) for one in _several(value)]
        elif isinstance(parameter, click.Option):
            options += _option(parameter, value)
    return shlex.join([*words, *options])


def _option(option: click.Option, value: Any) -> list[str]:
    named = max(option.opts, key=len)
    if option.is_flag:
        return [named] if value else list(option.secondary_opts[:1])
    return [word for one in _several(value) for word in (named, str(one))]


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)
