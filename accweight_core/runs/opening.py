"""Opening a run: find the checkpoints, order them, make sure that they belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from operator import itemgetter
from typing import Any

from accweight_core.arguments import checked_names, checked_path, checked_step, checked_values
from accweight_core.dtypes import DTYPES
from accweight_core.errors import ArgumentTypeError, MismatchError, SourceError, StepOrderError
from accweight_core.gc_paused import gc_paused
from accweight_core.io.memory import memory_told
from accweight_core.io.reading import same_values
from accweight_core.naming import layers_of, module_of
from accweight_core.readers import reader_for, unrecognised
from accweight_core.remote import path_at, shown
from accweight_core.remote.local import check_not_special
from accweight_core.runs.describing import size_and_change
from accweight_core.runs.grouping import Group, chosen_group, groups_of
from accweight_core.runs.name_map import NameMap
from accweight_core.runs.selection import ALL, Selection
from accweight_core.runs.sources import gather
from accweight_core.runs.step_order import Found, Order, Placed, order_of
from accweight_core.schema import Checkpoint, HiddenValues, Hints, Run, StoredTensor
from accweight_core.text import shortened

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Sequence[Mapping[str, Any]]
WeightsByStep = Mapping[int, Mapping[str, Any]]


def open_run(
    source: Source | WeightsByStep,
    *,
    reader: str | None = None,
    model: str | os.PathLike[str] | None = None,
    skip: Iterable[str] = (),
    exclude: Iterable[str] = (),
    group: int | str | None = None,
    in_given_order: bool = False,
    map: NameMap | str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Run:
    """Open the checkpoints of one training run, without reading weights.

    Args:
        source: A file, a folder, a glob, several of them, at paths or URLs; or weights in
            memory: mappings of name to array or tensor, in order, or by step.
        reader: Name of the reader; by content if None.
        model: An ONNX model of the same network, which supplies kinds and network order.
        skip: Patterns of parameter names to leave out.
        exclude: Patterns of file names to leave out.
        group: Which group of checkpoints to take when they hold different parameters: its
            number as `inspect` lists them, or "largest".
        in_given_order: Take files in the order given, whatever their names say.
        map: A map file: what parameters are called, where checkpoints differ in that. With one,
            files of several formats can be one run.
        storage_options: What fsspec opens the file systems of URLs with, beyond what its own
            configuration says: keys, endpoints. They are not stored.

    Raises:
        SourceError: If nothing is there.
        FormatError: If a file is damaged, unsafe or unknown.
        StepOrderError: If two different checkpoints claim one step.
        MismatchError: If the checkpoints hold different parameters.
        MissingLibraryError: If a URL needs a library that is not installed.
    """
    selection = Selection.of(
        reader=reader,
        model=model,
        skip=skip,
        exclude=exclude,
        group=group,
        in_given_order=in_given_order,
        map=map,
        storage_options=storage_options,
    )
    return selected_run(source, selection)


def as_run(given: Run | Source | WeightsByStep) -> Run:
    """Return a run that is given as such, or by its source."""
    return given if isinstance(given, Run) else open_run(given)


@gc_paused()
def selected_run(source: Source | WeightsByStep, selection: Selection) -> Run:
    """Open the run that a selection makes of a source; see `open_run`."""
    opened = survey(source, selection)
    groups = grouped(opened, selection)
    picked = chosen_group(groups, selection.group, opened.source)
    kept, model, name_map = picked.checkpoints, selection.model, selection.map
    return Run(
        source=opened.source,
        reader=opened.reader,
        checkpoints=kept,
        layers=picked.layers if model is None else layers_of(named_by_model(kept[0], model)),
        notes=(*opened.notes, *_left_out(groups, picked), *_unused(name_map, opened)),
        name_map=name_map.document if name_map else {},
    )


def grouped(opened: Opened, selection: Selection) -> tuple[Group, ...]:
    """Group the checkpoints by the parameters that a selection leaves, under its names."""
    checkpoints = as_mapped(opened.checkpoints, selection.map)
    return groups_of([without(checkpoint, selection.skip) for checkpoint in checkpoints])


def as_mapped(checkpoints: Sequence[Checkpoint], name_map: NameMap | None) -> Sequence[Checkpoint]:
    """Return checkpoints under the names of a map, axes in one order; as they are without one."""
    if name_map is None:
        return checkpoints
    from accweight_core.runs.renaming import conformed, renamed

    return conformed([renamed(checkpoint, name_map) for checkpoint in checkpoints])


def _unused(name_map: NameMap | None, opened: Opened) -> list[str]:
    """Return a remark on names in a map that no checkpoint has: they are probably misspelt."""
    if name_map is None:
        return []
    names = {name for checkpoint in opened.checkpoints for name in checkpoint.tensors}
    unused = [key for key in name_map.parameters if "*" not in key and key not in names]
    shown = ", ".join(map(repr, unused[:3])) + (", ..." if len(unused) > 3 else "")
    return [f"{name_map.source}: no checkpoint has a parameter {shown}"] if unused else []


@dataclass(frozen=True)
class Opened:
    """Checkpoints in step order, before anyone asked whether they belong together."""

    source: str
    reader: str
    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]


@memory_told("opening the run")
def survey(source: Source | WeightsByStep, selection: Selection = ALL) -> Opened:
    """Return the checkpoints of a source in step order, whether or not they are one run.

    Raises:
        SourceError: If nothing is there.
        FormatError: If a file is damaged, unsafe or unknown.
        StepOrderError: If two different checkpoints claim one step.
    """
    if isinstance(source, Mapping):
        return _in_memory(_by_step(source))
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, Iterable):
            raise ArgumentTypeError(
                "expected a file, a folder, a glob, several of them, or weights in memory, "
                f"got {type(source).__name__}"
            )
        source = list(source)  # type: ignore[assignment]
        mappings = [item for item in source if isinstance(item, Mapping)]
        for item in source if not mappings else []:
            checked_path(item, "a checkpoint")
        if mappings and len(mappings) < len(source):
            raise SourceError(
                "weights in memory and files cannot be one run; give one or the other"
            )
        if mappings:
            return _in_memory(list(enumerate(mappings)))
    gathered = gather(source, selection)  # type: ignore[arg-type]
    notes = [*gathered.notes, *_shared_notes(gathered.found)]
    order = order_of(gathered.found, in_given_order=selection.in_given_order)
    ordered = _without_copies(order, notes)
    named: list[Any] = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    return Opened(
        ", ".join(shown(name) for name in named[:3]) + (", ..." if len(named) > 3 else ""),
        gathered.reader,
        tuple(_checkpoint(item) for item in ordered),
        tuple(dict.fromkeys(notes)),
    )


def _shared_notes(found: Sequence[Found]) -> list[str]:
    """Return the remarks of readers, each once, with the files they are about."""
    files: dict[str, list[str]] = {}
    for item in found:
        for note in item.description.notes:
            files.setdefault(note, []).append(item.path.name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} checkpoints'}: {note}"
        for note, names in files.items()
    ]


def _checkpoint(item: Placed) -> Checkpoint:
    description = item.found.description
    size, changed = size_and_change(item.found.stamps)
    return Checkpoint(
        path=str(item.found.path),
        step=item.step,
        step_source=item.source,
        format=description.format,
        tensors={tensor.name: tensor for tensor in description.tensors},
        size_bytes=size,
        changed_ns=changed,
        measures=description.measures,
        stamps=item.found.stamps,
    )


def _by_step(weights: Mapping[Any, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    for step, state in weights.items():
        if not isinstance(state, Mapping):
            raise SourceError(
                f"expected weights by step, got {type(state).__name__} under {step!r}; "
                "give a sequence of state dicts, or a mapping of step to state dict"
            )
    found = sorted(((checked_step(step), step) for step in weights), key=itemgetter(0))
    for (step, first), (later, second) in pairwise(found):
        if step == later:
            raise StepOrderError(f"{first!r} and {second!r} are both step {step}; leave one out")
    return [(step, weights[given]) for step, given in found]


def _in_memory(weights: Sequence[tuple[int, Mapping[str, Any]]]) -> Opened:
    """Return checkpoints of arrays or tensors that the caller holds."""
    for step, mapping in weights:
        checked_names(mapping, f"at step {step}")
    checkpoints = tuple(
        Checkpoint(
            path=f"memory:{step}",
            step=step,
            step_source="order given",
            format="memory",
            tensors={name: _held(name, value) for name, value in mapping.items()},
        )
        for step, mapping in weights
    )
    if not checkpoints:
        raise SourceError("no checkpoints given: the sequence is empty")
    return Opened("memory", "memory", checkpoints, _shared_memory(weights))


def _shared_memory(weights: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Return a remark if two checkpoints are one and the same memory, as live weights are."""
    for (step, first), (later, second) in pairwise(weights):
        tensors = [name for name in first if name in second and hasattr(first[name], "data_ptr")]
        if tensors and all(_address(first[name]) == _address(second[name]) for name in tensors):
            note = (
                f"steps {step} and {later} share their memory, so nothing can have moved between "
                "them; keep copies: {name: value.clone() for name, value in state_dict.items()}"
            )
            return (note,)
    return ()


def _address(value: Any) -> Any:
    try:
        return value.data_ptr() if hasattr(value, "data_ptr") and value.numel() else id(value)
    except RuntimeError:  # tensors that have no memory of their own
        return id(value)


def _held(name: str, value: Any) -> StoredTensor:
    """Describe an array or tensor in memory."""
    value = checked_values(name, value)
    dtype = str(value.dtype).removeprefix("torch.")
    shape = tuple(int(length) for length in value.shape)
    refusal = "" if dtype in DTYPES else f"values of type {dtype} are not numbers known here"
    return StoredTensor(name, HiddenValues(lambda: value, dtype, shape), refusal=refusal)


def _without_copies(order: Order, notes: list[str]) -> list[Placed]:
    """Drop copies of other checkpoints with a note; two contents for one step are an error."""
    kept: list[Placed] = []
    paths = [item.found.path for item in order.placed]
    paths += [found.path for found in order.without_step]
    names = dict(zip(paths, shortened([str(path) for path in paths]), strict=True))
    for item in order.placed:
        twin = next((k for k in kept if k.step == item.step), None)
        if twin is None:
            kept.append(item)
            continue
        if not same_values(twin.found.description.tensors, item.found.description.tensors):
            raise StepOrderError(
                f"two different checkpoints claim step {item.step} ({item.source}): "
                f"{names[twin.found.path]} and {names[item.found.path]}; leave one out with "
                f"--exclude '{names[item.found.path]}', or give the files in order with "
                "--given-order"
            )
        notes.append(f"{names[item.found.path]} left out: same weights as {names[twin.found.path]}")
    for found in order.without_step:
        tensors = found.description.tensors
        twin = next((k for k in kept if same_values(k.found.description.tensors, tensors)), None)
        if twin is None:
            raise StepOrderError(
                f"{names[found.path]} has no step where the others have one ({kept[0].source}); "
                f"leave it out with --exclude '{names[found.path]}', or give the files in order "
                "with --given-order"
            )
        notes.append(f"{names[found.path]} left out: same weights as {names[twin.found.path]}")
    return kept


def without(checkpoint: Checkpoint, patterns: tuple[str, ...]) -> Checkpoint:
    """Return the checkpoint without the parameters that match a pattern."""
    if not patterns:
        return checkpoint
    kept = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if not any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    return replace(checkpoint, tensors=kept)


def named_by_model(
    checkpoint: Checkpoint, model: str | os.PathLike[str] | None
) -> Sequence[StoredTensor]:
    """Return the tensors in network order, with what a model file knows of them."""
    tensors = list(checkpoint.tensors.values())
    if model is None:
        return tensors
    path = path_at(model)
    try:
        is_there = path.exists()
    except (OSError, ValueError):  # a name that the system cannot hold
        is_there = False
    if not is_there:
        raise SourceError(f"{path}: there is no such model file")
    check_not_special(path)
    reader = reader_for(path)
    if reader is None:
        raise unrecognised(path)
    known = _Known(reader.describe(path).tensors)
    matches = {tensor.name: known.match(tensor) for tensor in tensors}
    if not any(matches.values()):
        raise MismatchError(
            f"{path}: none of its parameters matches one in {checkpoint.path} by name "
            f"({', '.join(known.names[:3])} against {', '.join(t.name for t in tensors[:3])})"
        )
    informed = []
    for tensor in tensors:
        match = matches[tensor.name]
        place = match[0] if match else len(known.names)
        informed.append((place, replace(tensor, hints=match[1]) if match else tensor))
    return [tensor for _, tensor in sorted(informed, key=lambda pair: pair[0])]


class _Known:
    """The tensors of a model file, to be found by name or by the layer they serve."""

    def __init__(self, tensors: Sequence[StoredTensor]) -> None:
        self.names = [tensor.name for tensor in tensors]
        self._by_name = {tensor.name: (i, tensor) for i, tensor in enumerate(tensors)}
        self._by_layer: dict[str, list[tuple[int, StoredTensor]]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.hints.layer:
                self._by_layer.setdefault(tensor.hints.layer, []).append((i, tensor))

    def match(self, tensor: StoredTensor) -> tuple[int, Hints] | None:
        """Return the place and the meaning of a tensor, None if the model does not show it.

        Exporters rename matrices that they transpose: such a one is found by its layer and
        its shape the other way round, and lends its kind but not its axes.
        """
        place, twin = self._by_name.get(tensor.name, (0, None))
        if twin is not None and twin.shape == tensor.shape:
            return place, replace(twin.hints, layer=None)
        for place, twin in self._by_layer.get(module_of(tensor.name), []):
            if twin.shape == tensor.shape[::-1]:
                return place, Hints(kind=twin.hints.kind)
        return None


def _left_out(groups: Sequence[Group], picked: Group) -> list[str]:
    return [
        f"group {group.number} left out: {group.summary}"
        for group in groups
        if group.number != picked.number
    ]
