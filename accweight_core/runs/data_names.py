"""Tell data and statistics that lie between checkpoints, by the names of their arrays.

Datasets (`x_train`, `labels`) and statistics (`mu`, `sigma`) are stored in the formats of weights.
Names alone never suffice to refuse a file: this matters only beside a series of weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = frozenset(
    ("x", "y", "xs", "ys", "image", "images", "img", "imgs", "label", "labels", "input",
     "inputs", "target", "targets", "data", "dataset", "feature", "features", "sample",
     "samples", "tokens", "ids", "idx", "index", "indices", "mask", "latents", "noise",
     "prediction", "predictions", "preds", "logits", "outputs", "loss", "losses", "accuracy",
     "accuracies", "history", "time", "times", "timesteps", "results", "reward", "rewards",
     "action", "actions", "act", "rew", "observation", "observations", "obs", "done", "dones",
     "timeouts", "ret", "returns", "advantages", "low", "high", "mu", "sigma", "mean", "means",
     "std", "stds", "var", "variance", "min", "max", "count", "n", "sum", "cov", "stats",
     "statistics", "precision", "recall", "score", "scores", "counts")
)  # fmt: skip
_WHERE = frozenset(
    ("train", "test", "val", "valid", "validation", "dev", "eval", "all", "running", "next", "old",
     "space", "rms", "glob")
)  # fmt: skip
_UNNAMED = re.compile(r"array|arr_?\d+|tensor|value")
"""What arrays are called whose names nobody gave; then the name of the file counts."""


def are_data(names: Sequence[str], file_name: str) -> bool:
    """Tell whether arrays are data or statistics, by their names and that of their file.

    >>> are_data(["x_train", "y_train"], "digits.npz"), are_data(["w", "b"], "step_1.npz")
    (True, False)
    """
    if names and all(_UNNAMED.fullmatch(name) for name in names):
        return _is_data(file_name.partition(".")[0])
    return bool(names) and all(_is_data(name) for name in names)


def _is_data(name: str) -> bool:
    words = [word for word in re.split(r"[\W_]+|\d+", name.lower()) if word]
    return bool(words) and _NAMES.issuperset(set(words) - _WHERE) and bool(set(words) - _WHERE)
