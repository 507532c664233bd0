"""Tensors on their way to a worker: fit to be pickled, small, and with paths that hold anywhere.

Byte ranges are sent as they are. Values that no byte range shows are loaded by a function of their
reader, and functions are not sent: the worker describes the checkpoint anew, with the same
reader and the same map of names, and takes the tensor of that name from it. Weights in memory, and
those of readers that are not installed, have no place to be described from: they stay.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from accweight_core.errors import FormatError, reason_of
from accweight_core.jobs.engines.tasks import File
from accweight_core.readers import readers
from accweight_core.remote import is_url
from accweight_core.schema import Checkpoint, Extent, HiddenValues, Hints, StoredTensor
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord


@dataclass(frozen=True, slots=True)
class Named:
    """Loads the values of one tensor by its name, wherever that is.

    Attributes:
        token: The job, for which checkpoints are described once per process.
        outline: What is needed to describe a checkpoint: the reader, and the map of names.
        record: The checkpoint.
        name: The tensor.
    """

    token: str
    outline: Header
    record: CheckpointRecord
    name: str

    def __call__(self) -> Any:
        """Return the whole tensor.

        Raises:
            FormatError: If the checkpoint does not hold it any more.
            SourceError: If the checkpoint is gone, or has changed.
        """
        tensor = _DESCRIBED.checkpoint(self).tensors.get(self.name)
        if tensor is None or not isinstance(tensor.values, HiddenValues):
            raise FormatError(
                self.record.path,
                f"{self.name!r} is not as it was described; has the file changed, or is another "
                "version of its reader installed here?",
            )
        return tensor.values.load()


class _Described:
    """The checkpoints of one job, as this process has described them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token = ""
        self._known: dict[str, Checkpoint] = {}

    def checkpoint(self, wanted: Named) -> Checkpoint:
        """Return a checkpoint, described at the first request."""
        from accweight_core.analysis.reopen import reopened  # readers are not for who reads extents

        with self._lock:
            if wanted.token != self._token:
                self._token, self._known = wanted.token, {}
            path = wanted.record.path
            if path not in self._known:
                alone = replace(wanted.outline, checkpoints=(wanted.record,))
                self._known[path] = reopened(alone).checkpoints[0]
            return self._known[path]


_DESCRIBED = _Described()


class Serializer:
    """Makes tensors of a run fit to be sent."""

    def __init__(self, token: str, header: Header, checkpoints: Iterable[Checkpoint]) -> None:
        """Prepare.

        Args:
            token: The job.
            header: The analysis that the run makes.
            checkpoints: Those to walk.
        """
        self._token = token
        parameters = header.parameters if header.name_map else ()
        self._outline = Header(
            header.source, header.reader, (), parameters, (), name_map=header.name_map
        )
        self._records = [CheckpointRecord.of(checkpoint) for checkpoint in checkpoints]
        self._files: dict[str, File] = {}
        self._describable = set(header.reader.split(", ")) <= set(readers())

    def fits(self, tensors: Iterable[StoredTensor]) -> bool:
        """Tell whether a parameter, in each checkpoint, can be sent."""
        return self._describable or all(isinstance(t.values, Extent) for t in tensors)

    def packed(self, tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
        """Return a parameter, in each checkpoint, as it can be sent."""
        return tuple(map(self._packed, tensors, self._records))

    def files(self, packed: Iterable[StoredTensor]) -> tuple[File, ...]:
        """Return the files in which a parameter lies; those of hidden values are known to them.

        Raises:
            FormatError: If one is gone.
        """
        paths = dict.fromkeys(t.values.path for t in packed if isinstance(t.values, Extent))
        for path in paths:
            if path not in self._files:
                try:
                    self._files[path] = File.at(path)
                except OSError as error:
                    raise FormatError(path, f"cannot be read ({reason_of(error)})") from None
        return tuple(self._files[path] for path in paths)

    def check(self) -> None:
        """Look whether remote files are still those that were described here.

        Raises:
            FormatError: If one has changed, as far as its place knows.
        """
        paths = [path for path in self._files if is_url(path)]
        if paths:
            from accweight_core.remote.prefetch import (
                check_files,  # only who reads from URLs needs it
            )

            check_files(paths)

    def _packed(self, tensor: StoredTensor, record: CheckpointRecord) -> StoredTensor:
        values = tensor.values
        if isinstance(values, HiddenValues):
            load = Named(self._token, self._outline, record, tensor.name)
            values = replace(values, load=load)
        elif not is_url(values.path):
            values = replace(values, path=os.path.abspath(values.path))
        return replace(tensor, values=values, hints=Hints())
