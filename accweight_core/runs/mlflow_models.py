"""Models that MLflow 3 keeps beside the runs that logged them.

A run is `mlruns/EXPERIMENT/RUN/`, and what it logs at each epoch with `log_model` lies in
`mlruns/EXPERIMENT/models/m-ID/artifacts/`. The name of the model and its run are in the `meta.yaml`
of the model, its step in that of `RUN/outputs/m-ID/`. Such a file is read as if it were at
`EXPERIMENT/RUN/NAME/step=N/`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from accweight_core.remote import as_remote, open_file

_MODEL = re.compile(r"m-[0-9a-f]{8,64}")
_FIELD = re.compile(r"^(?P<key>[a-z_]+): *(?P<quote>['\"]?)(?P<value>[^'\"\n]*)(?P=quote) *$", re.M)
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,128}")
_STEP = re.compile(r"[0-9]{1,18}")

LARGEST_BYTES = 64 << 10
"""Size of the largest `meta.yaml` that is read; those of MLflow have some hundred bytes."""


class LoggedModel(NamedTuple):
    """A model that a run has logged.

    Attributes:
        run: Folder of the run.
        name: Name of the model.
        step: Its step, as digits.
    """

    run: Path
    name: str
    step: str


def models_of(run: Path) -> list[Path]:
    """Return the folders with the files of the models that a run has logged, if it is one."""
    if as_remote(run) is not None or not (run / "meta.yaml").is_file():
        return []
    try:
        names = sorted(entry.name for entry in (run / "outputs").iterdir())
    except OSError:
        return []
    homes = [run.parent / "models" / name / "artifacts" for name in names if _MODEL.fullmatch(name)]
    return [home for home in homes if home.is_dir()]


def logged_model(path: Path) -> LoggedModel | None:
    """Return the model that a file belongs to; None if no run of MLflow 3 has logged it."""
    home = _home_of(path)
    if home is None or as_remote(path) is not None:
        return None
    model = _fields(home / "meta.yaml")
    run, name = model.get("source_run_id", ""), model.get("name", "")
    if not _ID.fullmatch(run) or not _NAME.fullmatch(name):
        return None
    folder = home.parent.parent / run
    step = _fields(folder / "outputs" / home.name / "meta.yaml").get("step", "")
    return LoggedModel(folder, name, step) if _STEP.fullmatch(step) else None


def parts_as_logged(path: Path) -> tuple[str, ...]:
    """Return the parts of a path, with the run, the name and the step of a logged model."""
    model, home = logged_model(path), _home_of(path)
    if model is None or home is None:
        return path.parts
    below = path.parts[len(home.parts) + 1 :]
    return (*model.run.parts, model.name, f"step={model.step}", *below)


def _home_of(path: Path) -> Path | None:
    """Return the folder of the model that a file lies in: `models/m-ID`."""
    for folder in path.parents:
        if folder.name == "artifacts" and _MODEL.fullmatch(folder.parent.name):
            return folder.parent if folder.parent.parent.name == "models" else None
    return None


def _fields(file: Path) -> dict[str, str]:
    """Return the fields at the top of a `meta.yaml`; nothing if it cannot be read."""
    try:
        with open_file(str(file)) as opened:
            text = opened.read(LARGEST_BYTES)
    except OSError:
        return {}
    found = _FIELD.finditer(text.decode("utf-8", "replace"))
    return {match["key"]: match["value"] for match in found}
