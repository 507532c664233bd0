"""What an alignment says: who was matched with whom, how, how sure that is, and who was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class How(StrEnum):
    """What a match rests on."""

    MAP = "map"
    NAME = "name"
    SIMILAR_NAME = "similar name"
    POSITION = "position"
    SHAPE = "shape"
    VALUES = "values"


@dataclass(frozen=True)
class ParameterMatch:
    """Parameters of two matched layers that hold the same thing.

    Attributes:
        a: Names on one side; several where the other side has them in one.
        b: Names on the other.
        same_form: Whether the shapes are the same once axes are ordered by their meaning.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    same_form: bool = True


@dataclass(frozen=True)
class Match:
    """Layers that play the same part.

    Attributes:
        layers_a: Layers of one side; several where the other side has them merged in one.
        layers_b: Layers of the other.
        how: What the match rests on.
        confidence: 0 to 1, how sure the match is: 1 is certain (said by the user, or the same
            name, kind and shape), from 0.8 on it is sure, from 0.5 likely and worth a look,
            below that a guess.
        reason: The same in words.
        shape_differs: Whether the shapes differ beyond the order of axes.
        parameters: Which parameters belong together.
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
        """The layer of one side, or all that are merged there."""
        return ", ".join(self.layers_a)

    @property
    def layer_b(self) -> str:
        """The layer of the other side, or all that are merged there."""
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
    """A layer that the other side has not.

    Attributes:
        layer: Its name.
        hint: What may have become of it; empty if nothing can be said.
    """

    layer: str
    hint: str = ""


@dataclass(frozen=True)
class Alignment:
    """Two networks, layer by layer.

    Attributes:
        matches: In the order of a.
        only_a: Layers of a without a partner, in order.
        only_b: Layers of b without a partner, in order.
        notes: Remarks: whether values could be compared, orders that are not known.
    """

    matches: tuple[Match, ...]
    only_a: tuple[Unmatched, ...]
    only_b: tuple[Unmatched, ...]
    notes: tuple[str, ...] = field(default=())

    def partner(self, layer: str) -> Match | None:
        """Return the match of a layer of a."""
        return next((m for m in self.matches if layer in m.layers_a), None)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``align --json`` prints."""
        return {
            "matches": [match.to_json() for match in self.matches],
            "only_a": _listed(self.only_a),
            "only_b": _listed(self.only_b),
            "notes": list(self.notes),
        }


def _listed(layers: Sequence[Unmatched]) -> list[dict[str, str]]:
    return [{"layer": item.layer, "hint": item.hint} for item in layers]
