"""Find models that were saved in several parts for model parallelism, which no reader can merge.

Meta saves LLaMA as `consolidated.00.pth`, `consolidated.01.pth`, ...: every part has all names, and
slices of the matrices. Which axis was cut is known only to the code of the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from accweight_core.errors import FormatError
from accweight_core.runs.found import Found
from accweight_core.runs.search import Broken

_PART = re.compile(r"consolidated\.[0-9]{2}\.(pth|pt|safetensors)", re.IGNORECASE)


def parts_of_models(found: Sequence[Found]) -> list[Broken]:
    """Return the checkpoints that are parts of one model, each with the error that says so."""
    by_folder: dict[Path, list[Path]] = {}
    for one in found:
        if _PART.fullmatch(one.path.name):
            by_folder.setdefault(one.path.parent, []).append(one.path)
    return [
        Broken(path, FormatError(path, _problem(paths)))
        for paths in by_folder.values()
        if len(paths) > 1
        for path in paths
    ]


def _problem(paths: Sequence[Path]) -> str:
    names = sorted(path.name for path in paths)
    return (
        f"one of {len(names)} parts of one model, split for model parallelism ({names[0]} to "
        f"{names[-1]}), not a step; merge them into one checkpoint first, as "
        "convert_llama_weights_to_hf.py of transformers does"
    )
