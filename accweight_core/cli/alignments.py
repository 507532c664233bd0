"""Format the results of `compare` and `align`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accweight_core.alignment.matching.result import Alignment, Unmatched
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table, number
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_core.alignment.comparison import Comparison, LayerPlace

LEGEND = (
    "sure: 100% is certain (your map, or the same name, kind and shape), from 80% sure, "
    "from 50% likely, below that a guess."
)


def comparison_json(result: Comparison) -> dict[str, Any]:
    """Return the JSON document of ``compare --json``."""
    return {
        "by": result.by,
        "spearman": result.spearman,
        "kendall": result.kendall,
        "rbo": result.rbo,
        "top_overlap": dict(result.top_overlap),
        "layers": [
            {
                "layer": place.layer,
                "rank_a": place.rank_a,
                "rank_b": place.rank_b,
                "value_a": place.value_a,
                "value_b": place.value_b,
                "layer_b": place.layer_b,
                "how": place.how,
                "sure": round(place.sure, 2),
                "shape_differs": place.shape_differs,
            }
            for place in result.layers
        ],
        "only_a": list(result.only_a),
        "only_b": list(result.only_b),
        "hints": dict(result.hints),
        "notes": list(result.notes),
    }


def comparison(result: Comparison, a: object, b: object) -> Page:
    """Return a comparison as a table, followed by the measures of agreement."""
    overlap = ", ".join(f"first {k}: {share:.0%}" for k, share in result.top_overlap.items())
    alone = f"{len(result.only_a)} only in a, {len(result.only_b)} only in b"
    shares = f"{len(result.layers)} shared, {alone}"
    lines: list[str | Table] = [
        f"a: {plain(a)}",
        f"b: {plain(b)}",
        "",
        _places(result),
        "",
        (
            f"agreement by {result.by}: Spearman {number(result.spearman)}, "
            f"Kendall {number(result.kendall)}, rank-biased overlap {number(result.rbo)}"
        ),
        f"shared layers at the top: {overlap}",
    ]
    if any(not _is_plain(place) for place in result.layers):
        lines += [f"layers: {shares}; ranks are among the shared", LEGEND]
    for name, only in (("a", result.only_a), ("b", result.only_b)):
        if only:
            lines.append(f"only in {name}: {', '.join(map(plain, only))}")
    lines += [
        f"  {plain(name)}: {plain(hint)}"
        for name, hint in result.hints.items()
        if name in (*result.only_a, *result.only_b)
    ]
    lines += [f"note: {plain(note)}" for note in result.notes]
    return lines


def _is_plain(place: LayerPlace) -> bool:
    """Tell whether a match is certain, with equal names and shapes."""
    return place.layer == place.layer_b and place.sure == 1 and not place.shape_differs


def _places(result: Comparison) -> Table:
    """Return the table of layers; it shows how they were matched unless all matches are plain."""
    is_asked = any(not _is_plain(place) for place in result.layers)
    is_renamed = any(place.layer != place.layer_b for place in result.layers)
    names = ["a", "b", "", "layer"] + ["layer of b"] * is_renamed
    names += [f"{result.by} a", f"{result.by} b"] + ["matched by", "sure"] * is_asked
    rows = []
    for place in result.layers:
        moved = f"{'▲' if place.moved > 0 else '▼'}{abs(place.moved)}" if place.moved else "="
        cells = [str(place.rank_a), str(place.rank_b), moved, plain(place.layer)]
        cells += [plain(place.layer_b) if place.layer != place.layer_b else "="] * is_renamed
        cells += [number(place.value_a), number(place.value_b)]
        how = place.how + ", other shape" * place.shape_differs
        cells += [how, f"{place.sure:.0%}"] if is_asked else []
        rows.append(cells)
    return Table.of_rows(names, rows, "a", "b", f"{result.by} a", f"{result.by} b", "sure")


def alignment(result: Alignment, a: object, b: object) -> Page:
    """Return the lines and the table that ``align`` prints."""
    rows = [
        (
            plain(match.layer_a),
            plain(match.layer_b) if match.layer_a != match.layer_b else "=",
            match.how,
            f"{match.confidence:.0%}",
            plain(match.reason),
        )
        for match in result.matches
    ]
    table = Table.of_rows(("layer of a", "layer of b", "matched by", "sure", "why"), rows, "sure")
    lines: list[str | Table] = [
        f"a: {plain(a)}",
        f"b: {plain(b)}",
        "",
        table,
        "",
        LEGEND,
    ]
    lines += _alone("a", result.only_a) + _alone("b", result.only_b)
    lines += [f"note: {plain(note)}" for note in result.notes]
    return lines


def _alone(side: str, layers: Sequence[Unmatched]) -> list[str | Table]:
    """Return lines on unmatched layers: one for all without a hint, one for each with a hint."""
    plainly = [item.layer for item in layers if not item.hint]
    lines: list[str | Table] = []
    if plainly:
        lines.append(f"only in {side}: {', '.join(map(plain, plainly))}")
    for item in layers:
        if item.hint:
            lines.append(f"only in {side}: {plain(item.layer)} ({plain(item.hint)})")
    return lines
