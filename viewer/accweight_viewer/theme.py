"""Theme of the window: the colours that figures have too, and its style sheet."""

from __future__ import annotations

from typing import Literal

from accweight_core.colours.themes import DARK, LIGHT, Theme

__all__ = ["DARK", "LIGHT", "Theme", "style_sheet", "theme_called"]


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
