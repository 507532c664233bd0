"""Colours of the window, dark and light, and its style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
        gap: Texels without a weight.
        frame: Edge of a plate.
        curves: Lines of the timeline, used in turn.
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
    frame: str
    curves: tuple[str, ...]


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
    frame="#46525f",
    curves=("#6cb6ff", "#8ddb8c", "#dcbdfb", "#f69d50", "#76e3ea", "#ff938a", "#d4c66b", "#a9b6c4"),
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
    frame="#8d99a6",
    curves=("#1f6fb4", "#2e7d32", "#7b4bb3", "#c25e00", "#00838f", "#c62828", "#857300", "#5f6b78"),
)


def theme_called(name: Literal["dark", "light"]) -> Theme:
    """Return a theme by its name."""
    return LIGHT if name == "light" else DARK


def style_sheet(theme: Theme) -> str:
    """Return the style sheet of the whole window."""
    t = theme
    return f"""
    * {{ font-size: 12px; }}
    QMainWindow, QWidget {{ background: {t.panel}; color: {t.ink}; }}
    QSplitter::handle {{ background: {t.line}; }}
    QSplitter::handle:horizontal {{ width: 1px; }}
    QSplitter::handle:vertical {{ height: 1px; }}
    QToolBar {{ background: {t.panel}; border: none; border-bottom: 1px solid {t.line};
                padding: 3px 6px; spacing: 6px; }}
    QStatusBar {{ background: {t.panel}; color: {t.dim}; border-top: 1px solid {t.line}; }}
    QLabel#dim {{ color: {t.dim}; }}
    QPushButton, QToolButton, QComboBox, QLineEdit, QDoubleSpinBox, QSpinBox {{
        background: {t.raised}; border: 1px solid {t.line}; border-radius: 4px;
        padding: 3px 8px; min-height: 16px; }}
    QPushButton:hover, QToolButton:hover, QComboBox:hover {{ border-color: {t.dim}; }}
    QPushButton:checked, QToolButton:checked {{ border-color: {t.accent}; color: {t.accent}; }}
    QLineEdit:focus, QComboBox:focus, QDoubleSpinBox:focus {{ border-color: {t.accent}; }}
    QComboBox::drop-down {{ border: none; width: 16px; }}
    QComboBox QAbstractItemView {{ background: {t.panel}; border: 1px solid {t.line};
        selection-background-color: {t.bar}; selection-color: {t.ink}; }}
    QMenu {{ background: {t.panel}; border: 1px solid {t.line}; }}
    QMenu::item:selected {{ background: {t.bar}; }}
    QTableView {{ background: {t.panel}; alternate-background-color: {t.panel};
        border: none; gridline-color: {t.panel}; selection-background-color: {t.raised};
        selection-color: {t.ink}; outline: 0; }}
    QHeaderView {{ background: {t.panel}; }}
    QHeaderView::section {{ background: {t.panel}; color: {t.dim}; border: none;
        border-bottom: 1px solid {t.line}; padding: 4px 6px; }}
    QTableCornerButton::section {{ background: {t.panel}; border: none; }}
    QScrollBar:vertical {{ background: {t.panel}; width: 10px; margin: 0; }}
    QScrollBar:horizontal {{ background: {t.panel}; height: 10px; margin: 0; }}
    QScrollBar::handle {{ background: {t.line}; border-radius: 4px;
        min-height: 24px; margin: 2px; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QToolTip {{ background: {t.raised}; color: {t.ink}; border: 1px solid {t.line}; }}
    QCheckBox::indicator {{ width: 13px; height: 13px; }}
    """
