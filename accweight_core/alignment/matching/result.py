"""The result of an alignment: matches with evidence and confidence, and unmatched layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class How(StrEnum):
    """Evidence of a match."""

    MAP = "map"
    NAME = "name"
    SIMILAR_NAME = "similar name"
    POSITION = "position"
    SHAPE = "shape"
    VALUES = "values"


@dataclass(frozen=True)
class ParameterMatch:
    """Parameters of two matched layers that correspond.

    Attributes:
        a: Names on one side; several if the other side stores them as one.
        b: Names on the other side.
        same_form: Whether the shapes are equal once the axes are in the same order.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    same_form: bool = True


@dataclass(frozen=True)
class Match:
    """Layers that correspond.

    Attributes:
        layers_a: Layers of one side; several if the other side has them merged into one.
        layers_b: Layers of the other side.
        how: Evidence of the match.
        confidence: 0 to 1: 1 is certain (given by the user, or the same name, kind and shape),
            from 0.8 on it is sure, from 0.5 likely and worth a check, below that a guess.
        reason: The evidence in words.
        shape_differs: Whether the shapes differ beyond the order of axes.
        parameters: Corresponding parameters.
    """

    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    how: How
    confidence: float
    reason: str
    shape_differs: bool = False
    parameters: tuple[ParameterMatch, ...] = ()

    @property
    def layer_a(self) -> str:
        """The layer of side a, or its merged layers."""
        return ", ".join(self.layers_a)

    @property
    def layer_b(self) -> str:
        """The layer of side b, or its merged layers."""
        return ", ".join(self.layers_b)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "layer_a": self.layer_a,
            "layer_b": self.layer_b,
            "layers_a": list(self.layers_a),
            "layers_b": list(self.layers_b),
            "how": str(self.how),
            "sure": round(self.confidence, 2),
            "reason": self.reason,
            "shape_differs": self.shape_differs,
            "parameters": [
                {"a": list(p.a), "b": list(p.b), "same_form": p.same_form} for p in self.parameters
            ],
        }


@dataclass(frozen=True)
class Unmatched:
    """A layer without a match on the other side.

    Attributes:
        layer: Its name.
        hint: A likely reason; empty if none is known.
    """

    layer: str
    hint: str = ""


@dataclass(frozen=True)
class Alignment:
    """The correspondence of two networks, layer by layer.

    Attributes:
        matches: In the order of a.
        only_a: Layers of a without a match, in order.
        only_b: Layers of b without a match, in order.
        notes: Remarks: whether values were compared, which side's order is unknown.
    """

    matches: tuple[Match, ...]
    only_a: tuple[Unmatched, ...]
    only_b: tuple[Unmatched, ...]
    notes: tuple[str, ...] = field(default=())

    def partner(self, layer: str) -> Match | None:
        """Return the match of a layer of a."""
        return next((m for m in self.matches if layer in m.layers_a), None)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that ``align --json`` prints."""
        return {
            "matches": [match.to_json() for match in self.matches],
            "only_a": _listed(self.only_a),
            "only_b": _listed(self.only_b),
            "notes": list(self.notes),
        }


def _listed(layers: Sequence[Unmatched]) -> list[dict[str, str]]:
    return [{"layer": item.layer, "hint": item.hint} for item in layers]
