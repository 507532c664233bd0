"""Options of probes: their types and help, and the text ``NAME:option=value,...``."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from accweight_core.analysis.probe_names import SEVERAL, spelled
from accweight_core.arguments import brief
from accweight_core.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError
from accweight_core.probes.probe import Limits, Probe
from accweight_core.probes.registry import probe_named, probes
from accweight_core.text import meant

NO_LIMITS = Limits()

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a probe.

    Attributes:
        name: Its name.
        kind: Its type.
        default: Its value if it is not given.
        text: What it does, in one line.
        limits: The numbers that it may be.
    """

    name: str
    kind: Any
    default: Any
    text: str
    limits: Limits = NO_LIMITS

    @property
    def takes(self) -> str:
        """What values it takes, in words."""
        kind = _without_none(self.kind)
        if get_origin(kind) is Literal:
            return "|".join(map(str, get_args(kind)))
        names = {int: "integer", float: "number", bool: "true|false", str: "text"}
        return names.get(kind, f"texts joined by {SEVERAL}")


def options_of(probe: type[Probe]) -> tuple[Option, ...]:
    """Return the options of a probe, in the order of its fields.

    Raises:
        ArgumentTypeError: If it is no dataclass.
    """
    if not dataclasses.is_dataclass(probe):
        raise ArgumentTypeError(f"the probe {brief(probe)} is no dataclass: its fields are options")
    hints = get_type_hints(probe)
    return tuple(
        Option(f.name, hints[f.name], f.default, f.metadata.get("help", ""), _limits_of(f))
        for f in dataclasses.fields(probe)
        if f.init
    )


def _limits_of(field: dataclasses.Field[Any]) -> Limits:
    found: Limits = field.metadata.get("limits", NO_LIMITS)
    return found


def values_of(probe: Probe) -> dict[str, Any]:
    """Return the options of a probe by name, as JSON values."""
    found = {option.name: getattr(probe, option.name) for option in options_of(type(probe))}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def spec_of(name: str, values: Mapping[str, Any]) -> str:
    """Return the text that asks for a probe with some options; defaults are left out.

    Args:
        name: Its name; it need not be installed.
        values: Its options by name, as JSON values.
    """
    kind = probes().get(name)
    return _without_defaults(name, values, options_of(kind) if kind else ())


def asked_of(probe: Probe) -> str:
    """Return the text that asks for a probe as it is; it need not be installed."""
    return _without_defaults(probe.name, values_of(probe), options_of(type(probe)))


def _without_defaults(name: str, values: Mapping[str, Any], known: Sequence[Option]) -> str:
    usual = {option.name: option.default for option in known}
    given = {}
    for option, value in values.items():
        default = usual.get(option)
        if (
            value is not None
            and (list(default) if isinstance(default, tuple) else default) != value
        ):
            given[option] = value
    return spelled(name, given)


def parsed_probe(text: str) -> Probe:
    """Return the probe that a text such as ``embedding:layer=fc1,method=tsne`` asks for.

    Raises:
        UnknownNameError: If there is no such probe or option; lists those there are.
        ArgumentValueError: If a value does not fit its option.
    """
    name, colon, rest = text.partition(":")
    given: dict[str, str] = {}
    for item in rest.split(",") if colon else ():
        option, equals, value = item.partition("=")
        if not equals:
            raise ArgumentValueError(
                f"--probe {brief(text)}: {brief(item)} is no option; expected "
                "NAME:option=value,option=value"
            )
        given[option.strip()] = value
    return probe_with(name.strip(), given)


def probe_with(name: str, given: Mapping[str, Any]) -> Probe:
    """Return a probe by its name, with options.

    Args:
        name: Its name.
        given: Options by name; text is converted to the type of the option.

    Raises:
        UnknownNameError: If there is no such probe or option; lists those there are.
        ArgumentValueError: If a value does not fit its option.
    """
    kind = probe_named(name)
    known = {option.name: option for option in options_of(kind)}
    for option in given:
        if option not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options"
            raise UnknownNameError(
                f"probe {name!r} has no option {brief(option)}; {meant(option, known)}{listed}"
            )
    return kind(**{o: _converted(name, known[o], value) for o, value in given.items()})


def _converted(probe: str, option: Option, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind = _without_none(option.kind)
    try:
        if kind is bool:
            return WORDS[value.lower()]
        if get_origin(kind) is tuple:
            return tuple(part for part in value.split(SEVERAL) if part)
        if get_origin(kind) is Literal:
            return {str(choice): choice for choice in get_args(kind)}[value]
        return kind(value)
    except (KeyError, ValueError):
        choices = map(str, get_args(kind)) if get_origin(kind) is Literal else ()
        raise ArgumentValueError(
            f"probe {probe!r}: {option.name} is {brief(value)}; {meant(value, choices)}expected "
            f"{option.takes}"
        ) from None


def _without_none(kind: Any) -> Any:
    """Return the type of an option that may also be None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def as_probes(given: Sequence[Probe | str] | Probe | str) -> list[Probe]:
    """Return probes from texts, instances, or both.

    Raises:
        ArgumentTypeError: If one is neither.
        ArgumentValueError: If there is none, one is given twice with the same options, or an option
            is outside of its limits.
    """
    several = [given] if isinstance(given, (str, Probe)) else list(given)
    found: list[Probe] = []
    for one in several:
        if isinstance(one, type) or not isinstance(one, (str, Probe)):
            raise ArgumentTypeError(
                f"expected probes as text or instances, got {brief(one)}; such as "
                '"evaluate" or Evaluate()'
            )
        found.append(parsed_probe(one) if isinstance(one, str) else one)
        _check_limits(found[-1])
    if not found:
        raise ArgumentValueError("no probe given; accweight probe --list shows them")
    keys = [(p.name, repr(sorted(values_of(p).items(), key=lambda item: item[0]))) for p in found]
    if len(set(keys)) < len(keys):
        raise ArgumentValueError("a probe is given twice with the same options; leave one out")
    return found


def _check_limits(probe: Probe) -> None:
    for option in options_of(type(probe)):
        value = getattr(probe, option.name)
        if option.limits == NO_LIMITS or not isinstance(value, (int, float)):
            continue
        if not option.limits.allow(value):
            raise ArgumentValueError(
                f"probe {probe.name!r}: {option.name} is {value:g}; expected {option.limits}"
            )
