"""What an entry of the gallery is: a system, what it shows of which network, and its truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.training import (
    ANALYSIS,
    GRAPH,
    SAMPLES,
    Network,
)
from accweight_core.analysis.probe_kinds import ResultKind, kind_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.options import as_probes
from accweight_core.probes.probe import RUNS_NETWORK
from accweight_core.probes.registry import probes
from accweight_core.reports.probe_content import names_at_front
from accweight_core.reports.probe_views import Room, view_of

Content = dict[str, Any]

ROOM = Room(pixels=2_500_000, numbers=120_000)
"""How much the page shows of an array: it has many of them."""

CURVES = (ResultKind.NUMBERS, ResultKind.LAYERS, ResultKind.ROWS)


@dataclass(frozen=True)
class Paper:
    """Where a system is described."""

    text: str
    url: str


@dataclass(frozen=True)
class Truth:
    """Something that is known of a network, beside what was found.

    Attributes:
        what: What was asked.
        planted: The answer that is known.
        found: The answer that was found.
        holds: Whether the two agree.
        is_share: Whether numbers are shares, from 0 to 1.
    """

    what: str
    planted: str | float
    found: str | float
    holds: bool
    is_share: bool = False

    def document(self) -> Content:
        """Return it as plain values."""
        return {
            "what": self.what,
            "planted": self.planted,
            "found": self.found,
            "holds": bool(self.holds),
        }

    def text(self, value: str | float) -> str:
        """Return one of the answers as it is shown."""
        if isinstance(value, str):
            return value
        return f"{100 * value:.4g} %" if self.is_share else f"{value:.4g}"


@dataclass(frozen=True)
class Part(ABC):
    """A part of what a system shows: views of one network.

    `ProbePart` is one of what a probe has found; what comes from elsewhere derives its own.

    Attributes:
        network: The network.
        title: What is seen.
    """

    network: Network
    title: str

    @abstractmethod
    def content(self, made: Made) -> Content:
        """Return steps and views, as `accweight_core.reports.probe_views` has them, and words."""

    def run(self, made: Made) -> None:
        """Do what the command of this part does, if it has one; probes are asked all at once."""
        return

    def command(self, made: Made) -> list[str]:
        """Return the words of the command that makes this part; none if it is that of probes."""
        return []


@dataclass(frozen=True)
class ProbePart(Part):
    """What a probe has found.

    Attributes:
        probe: The probe with its options.
        views: Arrays that are shown, in their order; curves of the same axes are one view.
        data: Name of the samples in the folder of the network.
        names: Names of pictures in their order.
    """

    probe: str
    views: tuple[str, ...]
    data: str = SAMPLES
    names: tuple[str, ...] = ()

    def content(self, made: Made) -> Content:
        """Return the views of the arrays, and what the probe says."""
        result = made.result(self.network, self.probe, self.data)
        said = list(probes()[result.name].summary(result))
        return {
            "title": self.title,
            "network": self.network.words,
            "probe": self.probe,
            "said": said,
            "names": names_at_front(result, said),
            "steps": result.steps.tolist(),
            "views": [self._named(view) for view in _views(result, self.views)],
        }

    def _named(self, view: Content) -> Content:
        """Return a view with names of pictures."""
        if self.names and view["kind"] == ResultKind.PICTURES:
            return {**view, "labels": list(self.names)}
        return view


def _views(result: ProbeResult, names: Sequence[str]) -> Iterable[Content]:
    """Yield the views of arrays; of curves with the same axes, one with those alone."""
    seen: set[tuple[str, ...]] = set()
    for name in names:
        field = result.fields[name]
        is_curve = kind_of(field) in CURVES
        if is_curve and field.axes in seen:
            continue
        view = view_of(result, name, ROOM)
        if view is None:
            continue
        if is_curve:
            seen.add(field.axes)
            view["charts"] = [chart for chart in view["charts"] if chart["name"] in names]
        yield view


@dataclass(frozen=True)
class System:
    """An entry of the gallery.

    Attributes:
        name: Its name in addresses and in JSON.
        title: What the system is called.
        year: When it was published.
        papers: Where it is described.
        question: What a learner can ask here, in one line.
        showed: What it showed.
        lesson: Three sentences on what is seen here and how to read it, as paragraphs.
        parts: What is shown.
        truths: Returns what is known, beside what was found.
        more: Returns further commands, each as its words.
        begin_at: Step that is shown at first; the last one if None.
        beside: Whether parts stand side by side, to be compared.
    """

    name: str
    title: str
    year: str
    papers: tuple[Paper, ...]
    question: str
    showed: str
    lesson: str
    parts: tuple[Part, ...]
    truths: Callable[[Made], Sequence[Truth]]
    more: Callable[[Made], Sequence[list[str]]] = lambda made: ()
    begin_at: int | None = None
    beside: bool = False

    @property
    def sentences(self) -> list[str]:
        """The sentences of the lesson."""
        return [" ".join(part.split()) for part in self.lesson.strip().split("\n\n")]

    def commands(self, made: Made) -> list[list[str]]:
        """Return the commands that show all this again: a pass per network and its samples."""
        asked: dict[tuple[Network, str], list[str]] = {}
        for part in self.parts:
            if isinstance(part, ProbePart):
                asked.setdefault((part.network, part.data), []).append(part.probe)
        found = [
            [*probe_command(made, network, data, specs), "--html",
             str(made.home / (f"{self.name}.html" if len(asked) == 1
                              else f"{self.name}-{network.name}.html"))]
            for (network, data), specs in asked.items()
        ]  # fmt: skip
        own = [part.command(made) for part in self.parts if part.command(made)]
        return [*found, *own, *(list(words) for words in self.more(made))]


def probe_command(made: Made, network: Network, data: str, specs: Sequence[str]) -> list[str]:
    """Return the words of a command that evaluates probes of a network."""
    folder = made.folder(network)
    words = ["accweight", "probe", str(folder / ANALYSIS)]
    if any(one.needs & RUNS_NETWORK for one in as_probes(list(specs))):
        words += ["--model", str(folder / GRAPH), "--data", str(folder / data)]
        words += ["--resize", "input"] if (folder / data).is_dir() else []
    return [*words, *(word for spec in dict.fromkeys(specs) for word in ("--probe", spec))]
