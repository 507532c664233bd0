"""Classes told by a linear classifier: how many samples, among those that it was not fitted on.

Among many features there is a plane between any few samples, so what counts is what a logistic
regression says of others: of a part that is held out (`accuracy_of_parts`), or of each half by the
other one (`accuracy_of_halves`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from accweight_core.probes.network import Array

ROUNDS_OF_PARTS, ROUNDS_OF_HALVES = 300, 500
"""Iterations of the logistic regression at most."""


@contextmanager
def _unfinished() -> Iterator[Any]:
    """Allow fits to stop early: the last plane is good enough. Give the logistic regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield LogisticRegression


def accuracy_of_parts(values: Array, labels: Array, fitted: Array) -> tuple[float, float]:
    """Return accuracy among the samples held out, and among those fitted on.

    Args:
        values: (samples, features). With one that is not finite, accuracies are NaN.
        labels: (samples,).
        fitted: (samples,) which of them the classifier is fitted on.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    wide = values.astype(np.float64)
    with _unfinished() as regression:
        model: Any = make_pipeline(StandardScaler(), regression(max_iter=ROUNDS_OF_PARTS))
        model.fit(wide[fitted], labels[fitted])
    right = model.predict(wide) == labels
    return float(right[~fitted].mean()), float(right[fitted].mean())


def accuracy_of_halves(values: Array, labels: Array) -> float:
    """Return the mean accuracy on one half of the samples if fitted on the other, both ways round.

    Args:
        values: (samples, features).
        labels: (samples,), or none. NaN without two classes of two samples each.
    """
    if len(labels) != len(values) or min(np.unique(labels, return_counts=True)[1]) < 2:
        return float("nan")
    if len(set(labels.tolist())) < 2:
        return float("nan")
    from sklearn import config_context
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    halves = StratifiedKFold(2, shuffle=True, random_state=0).split(scaled, labels)
    found = []
    # `cross_val_score` gives the same in a third more time
    with _unfinished() as regression, config_context(skip_parameter_validation=True):
        model = regression(max_iter=ROUNDS_OF_HALVES)
        for fitted, asked in halves:
            model.fit(scaled[fitted], labels[fitted])
            found.append(float((model.predict(scaled[asked]) == labels[asked]).mean()))
    return float(np.mean(found))
