"""Theme of the window: the colours that figures have too, and its style sheet."""

from __future__ import annotations

from typing import Literal

from accweight_core.colours.themes import DARK, LIGHT, Theme

__all__ = ["DARK", "LIGHT", "Theme", "style_sheet", "theme_called"]


def theme_called(name: Literal["dark", "light"]) -> Theme:
    """Return a theme by its name."""
    return LIGHT if name == "light" else DARK


LEGIBLE = 4.5
"""Least contrast of small letters with what is behind them (WCAG 2.2, 1.4.3)."""


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2).

    >>> contrast("#ffffff", "#000000"), contrast("#808080", "#808080")
    (21.0, 1.0)
    """
    light, dark = sorted(map(_luminance, (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def legible(colour: str, theme: Theme) -> str:
    """Return a colour for letters on a panel, moved to that of the text as far as is needed."""
    for share in range(10):
        mixed = _mixed(colour, theme.ink, share / 10)
        if contrast(mixed, theme.panel) >= LEGIBLE:
            return mixed
    return theme.ink


def _luminance(colour: str) -> float:
    shares = (byte / 255 for byte in bytes.fromhex(colour[1:]))
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(first: str, second: str, share: float) -> str:
    pairs = zip(bytes.fromhex(first[1:]), bytes.fromhex(second[1:]), strict=True)
    return f"#{bytes(round(a + (b - a) * share) for a, b in pairs).hex()}"


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
    QLabel#caption {{ font-size: 15px; font-weight: 600; }}
    QPushButton, QToolButton, QComboBox, QLineEdit, QDoubleSpinBox, QSpinBox {{
        background: {t.raised}; border: 1px solid {t.line}; border-radius: 4px;
        padding: 3px 8px; min-height: 16px; }}
    QPushButton:hover, QToolButton:hover, QComboBox:hover {{ border-color: {t.dim}; }}
    QPushButton:checked, QToolButton:checked {{ border-color: {t.accent}; color: {t.accent}; }}
    QLineEdit:focus, QComboBox:focus, QDoubleSpinBox:focus {{ border-color: {t.accent}; }}
    QComboBox {{ combobox-popup: 0; }}
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
