"""Network order, kinds and axes from a model file: the one that --model names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from accweight_core.errors import MismatchError, SourceError
from accweight_core.naming import module_of
from accweight_core.readers import reader_for, unrecognised
from accweight_core.remote import path_at
from accweight_core.remote.local import check_not_special
from accweight_core.schema import Checkpoint, Hints, StoredTensor


def named_by_model(
    checkpoint: Checkpoint, model: str | os.PathLike[str] | None
) -> Sequence[StoredTensor]:
    """Return the tensors in network order, with hints from a model file."""
    tensors = list(checkpoint.tensors.values())
    if model is None:
        return tensors
    path = path_at(model)
    try:
        is_there = path.exists()
    except (OSError, ValueError):  # a name that is not valid on this system
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
    """The tensors of a model file, indexed by name and by layer."""

    def __init__(self, tensors: Sequence[StoredTensor]) -> None:
        self.names = [tensor.name for tensor in tensors]
        self._by_name = {tensor.name: (i, tensor) for i, tensor in enumerate(tensors)}
        self._by_layer: dict[str, list[tuple[int, StoredTensor]]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.hints.layer:
                self._by_layer.setdefault(tensor.hints.layer, []).append((i, tensor))

    def match(self, tensor: StoredTensor) -> tuple[int, Hints] | None:
        """Return the position and hints of a tensor, None if the model does not have it.

        Exporters rename matrices that they transpose. Such a matrix is found by its layer and the
        reversed shape, and gives the kind but not the axes.
        """
        place, twin = self._by_name.get(tensor.name, (0, None))
        if twin is not None and twin.shape == tensor.shape:
            return place, replace(twin.hints, layer=None)
        for place, twin in self._by_layer.get(module_of(tensor.name), []):
            if twin.shape == tensor.shape[::-1]:
                return place, Hints(kind=twin.hints.kind)
        return None
