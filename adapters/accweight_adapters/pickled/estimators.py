"""The weights of scikit-learn's networks and linear models, by their layers.

A pickled estimator is an object whose fitted arrays end in an underscore: ``coefs_`` and
``intercepts_`` are lists with an entry per layer, ``coef_`` and ``intercept_`` those of a single
one. They are read by their names; no class is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from accweight_adapters.pickles.values import Claim
from accweight_adapters.untrusted import ClaimError, quoted_few
from accweight_core.schema import Axis, Hints, Kind, Role

FITTED = re.compile(r"(?P<around>(.*\.)?)((?P<list>coef|intercept)s_\.(?P<number>[0-9]{1,6})"
                    r"|(?P<one>coef|intercept)_)")  # fmt: skip
"""Names of fitted arrays: around them the estimator in a pipeline, if any."""

LEAVES: Final = {"coef": "weight", "intercept": "bias"}


AXES: Final = {True: (Axis.INPUT, Axis.OUTPUT), False: (Axis.OUTPUT, Axis.INPUT)}
"""Axes of the matrices in lists, and of the others."""


def is_fitted(name: str) -> bool:
    """Tell whether a name is that of the coefficients of an estimator."""
    match = FITTED.fullmatch(name)
    return match is not None and "coef" in (match["list"], match["one"])


def by_layers(
    tensors: Mapping[str, Claim], notes: list[str]
) -> tuple[dict[str, Claim], dict[str, Hints]]:
    """Return arrays with those of estimators named by layer (``0.weight``, ``0.bias``), and hints.

    Args:
        tensors: Arrays by the path of attributes to them.
        notes: Receives a remark on what else such estimators keep.
    """
    if not any(map(is_fitted, tensors)):
        return dict(tensors), {}
    matches = {name: FITTED.fullmatch(name) for name in tensors}
    around = dict.fromkeys(match["around"] for match in matches.values() if match)
    estimators = {path: place for place, path in enumerate(around)}
    kept, places = dict[str, Claim](), list[tuple[int, int, bool, str, Hints, Claim]]()
    left_out = []
    for name, claim in tensors.items():
        match = matches[name]
        if match is None and name.endswith("_") and _around(name) in estimators:
            left_out.append(name)
        elif match is None:
            kept[name] = claim
        else:
            leaf, number = LEAVES[match["list"] or match["one"]], int(match["number"] or 0)
            prefix = match["around"] if len(estimators) > 1 else ""
            axes = AXES[match["list"] is not None] if len(claim.shape) == 2 else None
            is_bias = leaf == "bias"
            hints = Hints(None, Kind.LINEAR, Role.BIAS if is_bias else Role.WEIGHT, axes)
            own = f"{prefix}{number}.{leaf}"
            places.append((estimators[match["around"]], number, is_bias, own, hints, claim))
    if left_out:
        notes.append(f"left out {quoted_few(left_out)}: what else a fitted estimator keeps")
    places.sort(key=lambda place: place[:3])
    named = {place[3]: place[5] for place in places}
    if len(named | kept) < len(places) + len(kept):
        raise ClaimError("holds two arrays that would both have one name")
    return named | kept, {place[3]: place[4] for place in places}


def _around(name: str) -> str:
    """Return the path to the object of an attribute, with the dot behind it."""
    return name[: name.rfind(".") + 1]
