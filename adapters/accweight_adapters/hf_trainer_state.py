"""Read ``trainer_state.json``, which Hugging Face's Trainer writes next to the weights.

It has the step of the checkpoint and the history of all logged metrics. If it is missing or
damaged, the weights are read without it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from accweight_adapters.measures import MAX_MEASURES, as_float, finite, is_showable
from accweight_adapters.untrusted import MAX_SIZE, quoted
from accweight_core.schema import Description

STATE_FILE: Final = "trainer_state.json"
MAX_STATE_BYTES: Final = 64_000_000
STEP_KEY: Final = f"global_step of {STATE_FILE}"

MODEL_FILE = re.compile(
    r"(adapter_model|pytorch_model|model)([._-].*)?\.(safetensors|bin|json)", re.IGNORECASE
)
"""Names of the Trainer's weight files; other files in a folder have steps of their own."""

NOT_MEASURED = re.compile(r".*(_runtime|_per_second|_time)|total_flos|step|epoch")
"""Logged names that measure the machine and the clock, not the model."""


def with_trainer_state(description: Description, path: Path) -> Description:
    """Return the description of the weights in `path` with the Trainer's state added."""
    if not MODEL_FILE.fullmatch(path.name):
        return description
    return with_state_of(description, path.parent)


def with_state_of(description: Description, folder: Path) -> Description:
    """Return a description with step, measures and notes from a Trainer folder."""
    path = folder / STATE_FILE
    if not path.is_file():
        return description
    state = _state_in(path)
    if state is None:
        note = f"{STATE_FILE} beside it is damaged; its step and figures are not known"
        return replace(description, notes=(*description.notes, note))
    step = _step_in(state)
    return replace(
        description,
        step=description.step if step is None else step,
        step_key=description.step_key if step is None else STEP_KEY,
        is_step_sure=description.is_step_sure or step is not None,
        notes=(*description.notes, *_notes(state, folder)),
        measures={**_measures(state, step), **description.measures},
    )


def _state_in(path: Path) -> Mapping[str, Any] | None:
    """Return the content of the file, or None if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, io.SEEK_END)
            file.seek(0)
            content = json.loads(file.read(size_bytes)) if size_bytes <= MAX_STATE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _step_in(state: Mapping[str, Any]) -> int | None:
    step = state.get("global_step")
    is_step = isinstance(step, int) and not isinstance(step, bool) and 0 <= step < MAX_SIZE
    return step if is_step else None


def _measures(state: Mapping[str, Any], step: int | None) -> dict[str, float]:
    """Return the last value of every metric logged up to a step, and the epoch."""
    history = state.get("log_history")
    logged: dict[str, float] = {}
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and _is_up_to(entry.get("step"), step):
            logged |= {name: value for name, value in entry.items() if _is_figure(name, value)}
    known = {name: as_float(value) for name, value in logged.items()}
    known["epoch"] = finite(state["epoch"]) if _is_number(state.get("epoch")) else None
    found = {name: value for name, value in known.items() if value is not None}
    return dict(list(found.items())[:MAX_MEASURES])


def _is_up_to(step: object, last: int | None) -> bool:
    return last is None or not isinstance(step, (int, float)) or step <= last


def _is_figure(name: str, value: object) -> bool:
    return _is_number(value) and is_showable(name) and not NOT_MEASURED.fullmatch(name)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _notes(state: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Return a remark if an earlier checkpoint is the best one so far."""
    best = state.get("best_model_checkpoint")
    name = PurePosixPath(best.replace("\\", "/")).name if isinstance(best, str) else ""
    if not name or name == folder.resolve().name:
        return ()
    return (f"{STATE_FILE} names {quoted(name)} as the best checkpoint so far",)
