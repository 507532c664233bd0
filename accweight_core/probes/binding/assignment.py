"""What is planned for one tensor of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from accweight_core.probes.binding.recipes import Recipe


class Origin(StrEnum):
    """Where the values of a tensor come from."""

    CHECKPOINT = "checkpoint"
    CONSTANT = "constant"
    FILL = "fill"


@dataclass(frozen=True)
class Assignment:
    """Where one tensor of a network comes from.

    Attributes:
        name: The network's name of it.
        shape: Its shape.
        origin: A checkpoint, or the network itself: declared constant, or a fill of equal elements.
        recipe: How it is made of a checkpoint; None for constants.
        sure: Confidence of the match, 0 to 1.
        evidence: What the match rests on, in words.
        is_equal: Whether its values equal the network's own at the step that has these; None where
            there is no such step.
        doubts: What could make it wrong all the same; a network with doubts is not verified.
    """

    name: str
    shape: tuple[int, ...]
    origin: Origin
    recipe: Recipe | None = None
    sure: float = 1.0
    evidence: str = ""
    is_equal: bool | None = None
    doubts: tuple[str, ...] = field(default=())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the checkpoint's tensors that it is made of."""
        return self.recipe.sources if self.recipe else ()

    @property
    def words(self) -> str:
        """How it is made, in words."""
        if self.recipe:
            return self.recipe.words
        return "declared constant" if self.origin is Origin.CONSTANT else "fill of equal elements"
