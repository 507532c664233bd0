"""Themes: the colours of window, figures and pages by purpose, dark and light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours by purpose, as #rrggbb.

    Attributes:
        page: Background of scene and pictures.
        panel: Background of tables and controls.
        raised: Buttons and headers.
        line: Borders and grid lines.
        ink: Text.
        dim: Secondary text.
        accent: Selection and time cursor.
        bar: Bars behind the numbers of the table.
        mark: Layers that only one of two runs has.
        gap: Places without a value, and what is not loaded yet.
        mat: Between the weights of a picture: neither the dark nor the bright end of any map.
        broken: What is not a finite number; no map of change has this colour.
        frame: Edge of a plate.
        curves: Lines of the timeline, used in turn; told apart by the colour-blind, and no accent.
        classes: Points of ten classes. Under the three kinds of colour blindness as well, any two
            of them, and each and the page, are as different as can be (CIEDE2000 of 15 and more
            under the simulation of Machado, Oliveira and Fernandes, 2009).
    """

    page: str
    panel: str
    raised: str
    line: str
    ink: str
    dim: str
    accent: str
    bar: str
    mark: str
    gap: str
    mat: str
    broken: str
    frame: str
    curves: tuple[str, ...]
    classes: tuple[str, ...]


DARK = Theme(
    page="#0d1117",
    panel="#12171f",
    raised="#1c232d",
    line="#2a333f",
    ink="#e6eaef",
    dim="#8b97a5",
    accent="#ffb454",
    bar="#274766",
    mark="#ff7b72",
    gap="#161d27",
    mat="#161d27",
    broken="#ff4df0",
    frame="#46525f",
    curves=("#4595ee", "#37b07f", "#dcc4ff", "#f0f6b0", "#d0447f", "#b6f5e6", "#7f8c9b"),
    classes=(
        "#667afc",
        "#ebd6ad",
        "#5fa114",
        "#c349a0",
        "#caf0eb",
        "#0d7162",
        "#39f307",
        "#b2abda",
        "#666e31",
        "#a89087",
    ),
)

LIGHT = Theme(
    page="#f3f5f8",
    panel="#ffffff",
    raised="#e9edf2",
    line="#cfd6de",
    ink="#1b222b",
    dim="#5f6b78",
    accent="#c25e00",
    bar="#bcd8f2",
    mark="#c62828",
    gap="#dde3ea",
    mat="#8793a0",
    broken="#c400b8",
    frame="#8d99a6",
    curves=("#2f80e4", "#0a5a40", "#b83d7c", "#56209f", "#2fb9aa", "#b3bd3a", "#7b8794"),
    classes=(
        "#2e80e0",
        "#b91f46",
        "#98d223",
        "#1a3564",
        "#74c6fa",
        "#969757",
        "#d588a6",
        "#4d3b08",
        "#0013f8",
        "#8c5b84",
    ),
)
