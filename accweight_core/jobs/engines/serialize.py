"""Prepare tensors for workers: small, picklable, and with paths that are valid on any host.

Byte ranges are sent as they are. Hidden values are loaded by a function of their reader, which is
not sent: the worker describes the checkpoint again, with the same reader and map of names, and
takes the tensor of that name. Weights in memory, and those of readers that are not installed,
cannot be described on a worker and are walked here.
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
    """Loads the values of one tensor by name, on any host.

    Attributes:
        token: The job; checkpoints are described once per job and process.
        outline: The header entries needed to describe a checkpoint: the reader, the map of names.
        record: The checkpoint.
        name: The name of the tensor.
    """

    token: str
    outline: Header
    record: CheckpointRecord
    name: str

    def __call__(self) -> Any:
        """Return the whole tensor.

        Raises:
            FormatError: If the checkpoint no longer has the tensor.
            SourceError: If the checkpoint is missing or has changed.
        """
        tensor = _DESCRIBED.checkpoint(self).tensors.get(self.name)
        if tensor is None or not isinstance(tensor.values, HiddenValues):
            raise FormatError(
                self.record.path,
                f"{self.name!r} differs from its description; has the file changed, or is another "
                "version of its reader installed here?",
            )
        return tensor.values.load()


class _Described:
    """The checkpoints of one job as described in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token = ""
        self._known: dict[tuple[str, str], Checkpoint] = {}

    def checkpoint(self, wanted: Named) -> Checkpoint:
        """Return a checkpoint, described on first use."""
        from accweight_core.analysis.reopen import reopened  # imports the readers

        with self._lock:
            if wanted.token != self._token:
                self._token, self._known = wanted.token, {}
            key = wanted.record.path, wanted.record.copy
            if key not in self._known:
                alone = replace(wanted.outline, checkpoints=(wanted.record,))
                self._known[key] = reopened(alone).checkpoints[0]
            return self._known[key]


_DESCRIBED = _Described()


class Serializer:
    """Prepares the tensors of a run for sending."""

    def __init__(self, token: str, header: Header, checkpoints: Iterable[Checkpoint]) -> None:
        """Create it for one job.

        Args:
            token: The job.
            header: Header of the analysis.
            checkpoints: The checkpoints to walk.
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
        """Return a parameter, in each checkpoint, in the form that is sent."""
        return tuple(map(self._packed, tensors, self._records))

    def files(self, packed: Iterable[StoredTensor]) -> tuple[File, ...]:
        """Return the files of a parameter; hidden values know their own.

        Raises:
            FormatError: If one is missing.
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
        """Check that remote files have not changed since they were described here.

        Raises:
            FormatError: If one has changed, according to its server.
        """
        paths = [path for path in self._files if is_url(path)]
        if paths:
            from accweight_core.remote.prefetch import (
                check_files,  # needed for URLs only
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
