"""The errors of a binding, one line each: what is wrong, expected, got, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from accweight_core.alignment.matching.parameters import leaf_of
from accweight_core.errors import BindingError
from accweight_core.probes.binding.arrays import COARSE
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.probes.binding.folding import KEEP_APART, batch_norms
from accweight_core.schema import Kind, Run
from accweight_core.text import some

if TYPE_CHECKING:
    from accweight_core.probes.binding.arrays import Weights
    from accweight_core.probes.binding.described import Described
    from accweight_core.probes.binding.matching import Candidates

MOST = 3


def folded(layer: str, norm: str, described: Described) -> BindingError:
    """Return the error for a folded norm whose epsilon is not known."""
    return BindingError(
        f"{_name_of(described)}: batch norm {norm!r} of the checkpoint is folded into {layer!r}, "
        f"so the weights of {layer!r} alone would be wrong there, and no checkpoint of the run has "
        f"the graph's own weights, from which the fold could be undone; {KEEP_APART}, or export "
        "the graph from one of these checkpoints",
        (layer,),
    )


def without_source(
    missing: Sequence[str],
    described: Described,
    run: Run,
    candidates: Mapping[str, Candidates],
    own: Weights | None,
    found: Mapping[str, Assignment],
) -> BindingError:
    """Return the error for tensors of a network that no checkpoint has, the clearest case first."""
    where = _name_of(described)
    named = tuple(missing)
    statistics = [name for name in missing if _is_statistic(name, described)]
    if statistics and not _has_statistics(run):
        return _without_statistics(statistics, named, described, run)
    norm = _folded_in_half(run, own, found)
    if norm:
        return BindingError(
            f"{where}: batch norm {norm!r} of the checkpoints is folded into the layer before it, "
            "which cannot be undone for checkpoints in half precision, as these digits do not tell "
            f"its epsilon; {KEEP_APART}",
            named,
        )
    name = next((n for n in missing if n in candidates and candidates[n].match), missing[0])
    candidate = candidates.get(name)
    norm = _folded_without_statistics(run, candidate, found)
    if norm and candidate and candidate.match:
        return BindingError(
            f"{where}: batch norm {norm!r} is folded into {candidate.match.layer_b!r} there, and "
            "the checkpoints lack its running statistics, of which the folded weights are made: "
            "save model.state_dict() at every checkpoint, not the parameters alone",
            named,
        )
    shape = _shape(described.network.parameters[name])
    used = {source for item in found.values() for source in item.sources}
    if own is not None and candidate and candidate.match and _has_free(candidate, used):
        equal = sum(bool(item.is_equal) for item in found.values())
        sources = [p.name for p in candidate.sources if p.role is candidate.target.role]
        return BindingError(
            f"{where}: tensor {name!r} ({shape}) should be {some(sources, MOST) or 'of'} "
            f"({candidate.match.layer_b}), but equals no tensor of step {own.checkpoint.step} in "
            f"any order of axes or gates, though {equal} others do{_more(missing)}; export the "
            "graph from a checkpoint of this run, without what exporters compute from weights "
            "(dynamo=True, optimize=False), and look at accweight align",
            named,
        )
    if own is None and candidate and candidate.recipes and not candidate.recipes[0].told:
        wanted = some(candidate.recipes[0].sources, MOST)
        return BindingError(
            f"{where}: only values can tell whether tensor {name!r} ({shape}) is {wanted} of the "
            f"checkpoints{_more(missing)}, and no checkpoint has the graph's own weights; export "
            "the graph from one of these checkpoints",
            named,
        )
    if own is None and candidate and candidate.match:
        there = ", ".join(f"{p.name} {_shape(p.shape)}" for p in candidate.sources[:MOST])
        return BindingError(
            f"{where}: tensor {name!r} has shape {shape}, which cannot be made of {there} "
            f"(matched by {candidate.match.how}){_more(missing)}; is this the network of the run? "
            "accweight align shows what corresponds",
            named,
        )
    if not used:
        there = some([f"{p.name} ({_shape(p.shape)})" for p in run.parameters], MOST)
        return BindingError(
            f"{where}: no tensor of the network, such as {name!r} ({shape}), is in the "
            f"checkpoints, which have {there}; is this the network of another run? give the one of "
            "this run, or say with --map what its layers are called there",
            named,
        )
    return BindingError(
        f"{where}: no tensor of the checkpoints is {name!r} ({shape}){_more(missing)}; if it is a "
        f"constant of the network, add {_patterns(missing)}; if its layer has another "
        "name there, say so with --map",
        named,
    )


def _without_statistics(
    statistics: Sequence[str], named: tuple[str, ...], described: Described, run: Run
) -> BindingError:
    """Return the error for running statistics that no checkpoint has."""
    where, last = _name_of(described), run.checkpoints[-1]
    if last.format.startswith("ONNX"):
        norm = described.parameters[statistics[0]].layer
        return BindingError(
            f"{where}: the network has the batch norm {norm!r}, which is folded into the "
            f"weights of the checkpoints; take one of them as the model ({last.path}), or "
            f"write them anew: {KEEP_APART}",
            named,
        )
    return BindingError(
        f"{where}: the network needs running statistics ({some(statistics, MOST)}), and the "
        "checkpoints have none; save model.state_dict() and not only the parameters, or keep "
        f"the graph's own with {_patterns(statistics)}",
        named,
    )


def _folded_in_half(run: Run, own: Weights | None, found: Mapping[str, Assignment]) -> str:
    """Return a batch norm that has no place, of checkpoints in half precision; or nothing."""
    used = {source for item in found.values() for source in item.sources}
    for norm in batch_norms(run.layers) if own is not None else ():
        halves = [n for n in norm.names if own and n in own and own.dtype(n) in COARSE]
        if halves and used.isdisjoint(norm.names):
            return norm.layer
    return ""


def _folded_without_statistics(
    run: Run, candidate: Candidates | None, found: Mapping[str, Assignment]
) -> str:
    """Return a norm without statistics that has no place but may be folded; or nothing."""
    if candidate is None or candidate.match is None or candidate.target.kind is Kind.NORM:
        return ""
    used = {source for item in found.values() for source in item.sources}
    outputs = {length for source in candidate.sources for length in source.shape}
    for layer in run.layers:
        names = {p.name for p in layer.parameters}
        is_bare = layer.kind is Kind.NORM and not {"mean", "variance"} & set(
            map(leaf_of, layer.parameters)
        )
        fits = {p.elements for p in layer.parameters} <= outputs
        if is_bare and fits and used.isdisjoint(names):
            return layer.name
    return ""


def _has_free(candidate: Candidates, used: set[str]) -> bool:
    """Tell whether a tensor of the matched layers has no place so far."""
    return any(source.name not in used for source in candidate.sources)


def _name_of(described: Described) -> str:
    return described.run.source or "the network"


def _more(missing: Sequence[str]) -> str:
    return f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _patterns(names: Sequence[str]) -> str:
    """Return options that name these tensors."""
    leaves = dict.fromkeys(f"*.{n.rpartition('.')[2]}" if "." in n else n for n in names)
    patterns = list(names) if len(names) <= len(leaves) else list(leaves)
    return " ".join(f"--constant {pattern!r}" for pattern in patterns[:MOST])


def _is_statistic(name: str, described: Described) -> bool:
    parameter = described.parameters.get(name)
    return (
        parameter is not None
        and parameter.kind is Kind.NORM
        and leaf_of(parameter) in ("mean", "variance")
    )


def _has_statistics(run: Run) -> bool:
    return any(leaf_of(p) in ("mean", "variance") for p in run.parameters)
