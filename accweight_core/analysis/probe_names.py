"""What results of probes are called: by their options, if a probe was asked for in several ways.

    evaluate                  the only result of a probe
    embedding:method=tsne     one of several, by its options that are not the default ones
    evaluate#2                the second one of those options, of other samples or another network

A result is found by fewer options too, and by its folder, such as embedding-3f2a90c1d7e4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from accweight_core.store.probe_store import ProbeDocument
from accweight_core.text import numbered

SEVERAL = "+"
"""What separates the values of an option that takes several."""

PATTERN = r"[a-z][a-z0-9_]{0,47}(-[0-9a-f]{12}|(:[^\n]{1,999})?(#[0-9]{1,6})?)"
"""What a name of a result looks like."""

Documents = Mapping[str, ProbeDocument]


def option_text(value: Any) -> str:
    """Return the value of an option as it is written on the command line."""
    if isinstance(value, (list, tuple)):
        return SEVERAL.join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_files(names: Iterable[str]) -> dict[str, str]:
    """Return names of results as parts of the names of files, which all systems take.

    Each is another one: those that would be the same have a number.

    >>> list(in_files(["embedding:layer=fc1,method=tsne", "pca:of=a/b", "pca:of=A b"]).values())
    ['embedding-layer-fc1-method-tsne', 'pca-of-a-b', 'pca-of-A-b-2']
    """
    return numbered({name: in_file(name) for name in names}, "-")


def in_file(name: str) -> str:
    """Return a name in letters that names of files have on all systems, and not too long."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-")[:120]


def spelled(probe: str, options: Mapping[str, Any]) -> str:
    """Return ``PROBE:option=value,...``; without the options that are None."""
    given = [f"{name}={option_text(v)}" for name, v in options.items() if v is not None]
    return f"{probe}:{','.join(given)}" if given else probe


def outdated(documents: Documents) -> dict[str, str]:
    """Return the results that a newer version of the probe has computed again.

    Args:
        documents: What was asked, by the folder of the result, of one probe.

    Returns:
        The folder of the newest one, by the folder of each that it takes the place of.
    """
    found = {}
    for folder, one in documents.items():
        later = [f for f, other in documents.items() if _is_newer(other, one)]
        if later:
            found[folder] = max(later, key=lambda f: (documents[f].version, documents[f].number))
    return found


def _is_newer(other: ProbeDocument, one: ProbeDocument) -> bool:
    """Tell whether a result answers the question of another one, by a newer version.

    A newer version may have more options, which the older one could not be asked for.
    """
    shared = one.options.keys() & other.options.keys()
    return (
        other.version > one.version
        and bool(other.finished)
        and (other.model, other.data, other.seed) == (one.model, one.data, one.seed)
        and all(one.options[name] == other.options[name] for name in shared)
    )


def names_of(documents: Documents) -> dict[str, str]:
    """Return what results of one probe are called, by the folder of each, oldest first.

    Results of older versions do not say which of their options were the defaults, so their names
    have all options in which results differ.
    """
    if len(documents) == 1:
        return {folder: one.probe for folder, one in documents.items()}
    options = dict.fromkeys(name for one in documents.values() for name in one.options)
    differing = [
        name
        for name in options
        if len({option_text(one.options.get(name)) for one in documents.values()}) > 1
    ]
    names = {
        folder: one.asked or spelled(one.probe, {name: one.options.get(name) for name in differing})
        for folder, one in documents.items()
    }
    times, seen, found = Counter(names.values()), Counter[str](), {}
    for folder in sorted(names, key=lambda folder: documents[folder].number):
        name = names[folder]
        seen[name] += 1
        while times[name] > 1 and f"{name}#{seen[name]}" in times:  # a text may end like this
            seen[name] += 1
        found[folder] = f"{name}#{seen[name]}" if times[name] > 1 else name
    return found


def fits(probe: str, options: Mapping[str, Any], asked: str) -> bool:
    """Tell whether a result is what a text asks for, which may say only some of its options."""
    name, _, given = asked.partition(":")
    wanted = [item.partition("=") for item in given.split(",") if item]
    return name == probe and all(
        option in options and option_text(options[option]) == value for option, _, value in wanted
    )
