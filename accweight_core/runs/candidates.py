"""What files in a folder may be by their names: checkpoints, training state, shards, or others'.

A name decides which files are opened; content decides whether they are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatch, fnmatchcase
from pathlib import Path

from accweight_core.endings import what_ending_says
from accweight_core.readers import Reader, marks_of, reader_for, readers

_BESIDE = re.compile(
    r"^(.*_)?(optim|optimizer|opt(?=_?states?)|scheduler|scaler|rng_state|training_args|random_states?)"
    r"(_?states?)?([._-]\d+)*\.|^evaluations\.npz$",
    re.IGNORECASE,
)
_OF_RANK = re.compile(r"_model_states\.pt$")
"""Names of the model states of DeepSpeed's ranks."""

_IN_PART = re.compile(r"\.(tmp|temp|part|partial|crdownload|download|swp|lock)$", re.IGNORECASE)
"""Endings of files that are being written."""

UNFINISHED = re.compile(r"^tmp-checkpoint-\d+$|orbax-checkpoint-tmp")
"""Folders of incomplete saves, which trainers rename at the end."""

_NOT_SEARCHED = re.compile(r"^\.|\.accw$|^(__pycache__|node_modules|site-packages)$")
"""Hidden folders, analyses, and folders of installed programs."""

_OF_A_RUN = re.compile(r"\.hydra$|events\.out\.tfevents\.|(hparams\.yaml|progress\.csv|cout\.txt)$")
"""What programs write once for each run, so that the number of its folder is no step."""

SHARD = re.compile(r"-\d{5}-of-(?!00001(?!\d))\d{5}(_\d+)?\.\w+$")
"""Names of shards; what is one of one is whole."""

UNSURE = (
    *(".json", ".metadata", ".index", ".pkl", ".pickle", ".p", ".pkl.gz", ".joblib"),
    *(".tar", ".torch", ".th", ".model", ".mdl", ".chkpt", ".t7", ".ts", ".checkpoint"),
    *(".dill", ".cloudpickle"),
)
"""Suffixes that other files use too: such files must be opened to see if they are checkpoints."""

_NUMBERED = re.compile(r"[^.]*\d")
"""Names without a suffix that may be checkpoints, as in flax: `checkpoint_100`."""

ZIP_MAGIC = b"PK\x03\x04"


def is_of_other_kind(path: Path) -> bool:
    """Tell whether an ending says that a file is something else, or is still being written."""
    return bool(what_ending_says(path.name) or _IN_PART.search(path.name))


def is_of_a_run(name: str) -> bool:
    """Tell whether programs write a file of this name once for each run."""
    return _OF_A_RUN.match(name) is not None


def is_never_searched(name: str) -> bool:
    """Tell whether folders of this name are left alone."""
    return _NOT_SEARCHED.search(name) is not None


def suffixes_of(asked: Sequence[Reader]) -> tuple[str, ...]:
    """Return the suffixes and the mark files of readers."""
    return tuple(name for reader in asked for name in (*reader.suffixes, *marks_of(reader)))


def is_excluded(path: Path, patterns: tuple[str, ...]) -> bool:
    """Tell whether a pattern matches the file's name, or the end of its path."""
    text = path.as_posix()
    return any(
        fnmatch(path.name, pattern) or fnmatch(text, pattern) or fnmatch(text, f"*/{pattern}")
        for pattern in patterns
    )


def is_training_state(file: Path) -> bool:
    """Tell whether a file, or the folder of a mark file, is named like training state."""
    return _BESIDE.match(shown_name(file) + "." * is_mark(file)) is not None


def is_state_beside(file: Path, files: Collection[Path]) -> bool:
    """Tell whether a file lies in a folder of training state beside the weights themselves.

    Trainers of LoRA keep `style-000002-state/` beside `style-000002.safetensors`, and DeepSpeed's
    states in a checkpoint of the Trainer (`checkpoint-500/global_step500/`) are those of its model.
    """
    if file.parent.name.startswith("global_step") and _OF_RANK.search(file.name):
        return any(
            other.parent == file.parent.parent and not is_training_state(other) for other in files
        )
    stem = file.parent.name.removesuffix("-state")
    return stem != file.parent.name and file.parent.with_name(stem + file.suffix) in files


def is_mark(file: Path) -> bool:
    """Tell whether a file makes its folder a checkpoint: a reader lists its name, or a pattern."""
    return any(is_whole(file.name, (*r.suffixes, *marks_of(r))) for r in readers().values())


def is_whole(name: str, suffixes: Sequence[str]) -> bool:
    """Tell whether a name is, as a whole, one of the suffixes and marks of readers."""
    return name in suffixes or any("*" in mark and fnmatchcase(name, mark) for mark in suffixes)


def shown_name(file: Path) -> str:
    """Return the name of a file, or of its folder if it makes that a checkpoint."""
    return file.parent.name if is_mark(file) else file.name


def with_broken(kept: list[Path], files: list[Path]) -> list[Path]:
    """Return `kept` and the unrecognised files with names like theirs, but for the number.

    This is for names without a suffix. Such a name alone means nothing, but beside
    `checkpoint_100` an empty `checkpoint_200` is a damaged step that must be reported.
    """
    families = {(f.parent, without_numbers(f)) for f in kept if _NUMBERED.fullmatch(f.name)}
    known = set(kept)
    return [
        f
        for f in files
        if f in known
        or (_NUMBERED.fullmatch(f.name) and (f.parent, without_numbers(f)) in families)
    ]


def without_shards(files: list[Path]) -> list[Path]:
    """Leave out shards whose index is in the same folder, as the index is read instead."""
    found = set(files)
    return [f for f in files if not (SHARD.search(f.name) and f.with_name(index_of(f)) in found)]


def index_of(shard: Path) -> str:
    """Return the name of the index of a shard."""
    return SHARD.sub(shard.suffix + ".index.json", shard.name)


def without_numbers(path: Path) -> str:
    """Return a name without its numbers."""
    return re.sub(r"\d+", "#", path.name)


def may_be_other(path: Path) -> bool:
    """Tell whether a file may be something else than a checkpoint, by its name.

    A JSON file, zip or file without suffix that no reader recognises is something else, such as a
    configuration or a licence. A .pt file is a checkpoint even if no reader recognises it: leaving
    it out silently would hide a damaged step.
    """
    name = path.name.lower()
    is_unsure = not path.suffix or name.endswith(UNSURE)
    return is_unsure or (name.endswith(".zip") and _begins_as_zip(path))


def is_recognised(path: Path, chosen: Reader | None) -> bool:
    """Tell whether a reader reads a file: the chosen one, or any."""
    return chosen.recognises(path) if chosen else reader_for(path) is not None


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:
        return False
