"""accweight: which layers of a network have moved, when and how much.

>>> import accweight_core as aw                               # doctest: +SKIP
>>> analysis = aw.analyze(aw.open_run("checkpoints/"), out="run.accw")
>>> analysis.ranking()

Names below are loaded when first used, so that importing the package costs nothing and
`accweight_core.kernels` can be had without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accweight_core import kernels, probes
    from accweight_core.alignment.alignment import align
    from accweight_core.alignment.comparison import Comparison, compare
    from accweight_core.alignment.groups import compare_groups
    from accweight_core.alignment.matching.result import Alignment
    from accweight_core.analysis.advice.advise import Advice, advise
    from accweight_core.analysis.analysis import Analysis, open_analysis
    from accweight_core.errors import AccweightError
    from accweight_core.jobs.appending import append
    from accweight_core.jobs.checking import check
    from accweight_core.jobs.following import watch
    from accweight_core.jobs.pipeline import analyze
    from accweight_core.live.tracker import ChangeTracker
    from accweight_core.probes.network import Network
    from accweight_core.probes.running import probe
    from accweight_core.reports.report import report
    from accweight_core.runs.inspection import series_of
    from accweight_core.runs.opening import open_run
    from accweight_core.runs.series import Series
    from accweight_core.schema import Kind, Layer, Parameter, Role, Run

_HOMES = {
    "AccweightError": "errors",
    "Advice": "analysis.advice.advise",
    "Alignment": "alignment.matching.result",
    "Analysis": "analysis.analysis",
    "ChangeTracker": "live.tracker",
    "Comparison": "alignment.comparison",
    "Kind": "schema",
    "Layer": "schema",
    "Network": "probes.network",
    "Parameter": "schema",
    "Role": "schema",
    "Run": "schema",
    "Series": "runs.series",
    "advise": "analysis.advice.advise",
    "align": "alignment.alignment",
    "analyze": "jobs.pipeline",
    "append": "jobs.appending",
    "check": "jobs.checking",
    "compare": "alignment.comparison",
    "compare_groups": "alignment.groups",
    "open_analysis": "analysis.analysis",
    "open_run": "runs.opening",
    "probe": "probes.running",
    "report": "reports.report",
    "series_of": "runs.inspection",
    "watch": "jobs.following",
}

__all__ = [
    "AccweightError",
    "Advice",
    "Alignment",
    "Analysis",
    "ChangeTracker",
    "Comparison",
    "Kind",
    "Layer",
    "Network",
    "Parameter",
    "Role",
    "Run",
    "Series",
    "advise",
    "align",
    "analyze",
    "append",
    "check",
    "compare",
    "compare_groups",
    "kernels",
    "open_analysis",
    "open_run",
    "probe",
    "probes",
    "report",
    "series_of",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in ("kernels", "probes"):
        return import_module(f"accweight_core.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"accweight_core.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'accweight_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
