"""A checkpoint that was found: described, then placed at its step, in the order of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.remote.revision import Revision
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_doubts import Told, order_warnings
from accweight_core.schema import Description, Stamp


@dataclass(frozen=True)
class Found:
    """A described checkpoint without a step.

    Attributes:
        path: Its file or folder.
        description: What the reader says about it.
        stamps: Stamps of its files when it was described.
        reader: Name of the reader.
        is_named: Whether the user named this file, or a pattern that matches it.
        read: Parts of the path as they are read, if not as they are written; see `readings`.
        revision: The revision of a repository that is this checkpoint; None if it is one by its
            own name.
        copy: Key of the averaged copy that the description is of; empty for the model itself.
    """

    path: Path
    description: Description
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    reader: str = ""
    is_named: bool = False
    read: tuple[str, ...] = ()
    revision: Revision | None = None
    copy: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that may say its step, as they are read: of the revision, or of the path."""
        if self.read:
            return self.read
        if self.revision is None:
            return self.path.parts
        return ("", *self.revision.name.split("/")) if self.revision.is_named else ("", "commit")

    @property
    def stem(self) -> str:
        """The last name, without the ending of a file."""
        return self.path.stem if self.revision is None else self.parts[-1]

    @property
    def name(self) -> str:
        """The name of its file or revision."""
        return self.path.name if self.revision is None else self.revision.name

    @property
    def measures_in_name(self) -> dict[str, float]:
        """Training figures in the name of its file, as that is read."""
        return parts_of(self.read[-1] if self.read else self.path.name).measures

    @property
    def label(self) -> str:
        """What tells it apart in messages."""
        return str(self.path) if self.revision is None else self.revision.name


@dataclass(frozen=True)
class Placed:
    """A checkpoint with its step and the origin of that."""

    found: Found
    step: int
    source: str


@dataclass(frozen=True)
class Order:
    """Checkpoints in step order, and those without a step."""

    placed: list[Placed]
    without_step: list[Found]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the user has to check; see `order_warnings`."""
        return order_warnings([Told(str(p.found.path), p.step, p.source) for p in self.placed])
