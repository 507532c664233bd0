"""Describe plain pickles of a network's tensors or arrays: `pickle.dump`, joblib, PaddlePaddle.

The interpreter of all pickles (`accweight_adapters.pickles`) finds the weights; `content` locates
their bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from accweight_adapters.keras_hints import dotted, with_keras_hints
from accweight_adapters.lora import with_lora_layers
from accweight_adapters.measures import Keys, measures_in, plain_number
from accweight_adapters.numbered import with_numbered_hints
from accweight_adapters.pickled.content import FORMAT, Opened, interpreted, located
from accweight_adapters.pickled.estimators import by_layers
from accweight_adapters.pickles.clocks import Clock, clock_in
from accweight_adapters.pickles.places import number_in
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.pickles.values import ArrayClaim, TensorClaim
from accweight_adapters.pickles.weights import Weights, find_weights
from accweight_adapters.torch.container import Archive
from accweight_adapters.torch.extents import scalar
from accweight_adapters.untrusted import STEP_KEYS, ClaimError, claims_of, quoted_few, step_among
from accweight_core.schema import Description, StoredTensor

PADDLE_NAMES: Final = "StructuredToParameterName@@"
PADDLE_STATE = re.compile(
    r".*_(moment\d?(_max)?|beta\d_pow_acc|velocity|mean_square|mean_grad|momentum_acc|inf_norm)_\d+"
)
"""Names of PaddlePaddle's optimizer state, which has no mapping of its own."""


def described(path: Path) -> Description:
    """Describe the weights in `path`.

    Raises:
        FormatError: If the file is damaged, holds no weights, or names what only an attack does.
    """
    with claims_of(path, FORMAT):
        opened = Opened(path)
        with opened.file:
            return _described(path, opened)


def _described(path: Path, opened: Opened) -> Description:
    content = interpreted(opened)
    weights = find_weights(content)
    _leave_out_state(weights)
    entries = mapping_of(content)
    sure = step_among({k: _plain(entries[k]) for k in STEP_KEYS if k in entries})
    number = _numbers(path, opened, weights)
    clock = Clock(*sure) if sure else clock_in(content, number)
    measures = measures_in(entries, number)
    beside = {*measures, *STEP_KEYS} & entries.keys()
    kept = {
        name: claim
        for name, claim in weights.tensors.items()
        if claim.shape or name not in beside or not isinstance(claim, ArrayClaim)
    }
    if not kept:
        raise ClaimError("holds no weights: only numbers and training state")
    kept, hints = by_layers(kept, weights.notes)
    tensors = with_numbered_hints(
        replace(tensor, hints=hints.get(tensor.name, tensor.hints))
        for tensor in _named_alike(with_lora_layers(located(opened, *i) for i in kept.items()))
    )
    return Description(
        format=_format(entries, opened),
        tensors=tensors,
        step=clock.step,
        step_key=clock.key,
        is_step_sure=clock.is_sure,
        files=(str(path),),
        notes=tuple(weights.notes),
        measures=measures,
        copies={
            name: with_lora_layers(located(opened, *item) for item in copy.items())
            for name, copy in weights.copies.items()
        },
        is_model=weights.are_modules,
    )


def _named_alike(tensors: Sequence[StoredTensor]) -> Sequence[StoredTensor]:
    """Return tensors with the names that other readers give to TensorFlow's (``fc/kernel``)."""
    if not any("/" in tensor.name for tensor in tensors):
        return tensors
    names = dotted([tensor.name for tensor in tensors])
    return with_keras_hints(replace(t, name=n) for t, n in zip(tensors, names, strict=True))


def _format(entries: Any, opened: Opened) -> str:
    name = "PaddlePaddle pickle" if PADDLE_NAMES in entries else "pickle"
    return f"{name}, compressed" if opened.is_packed else name


def _leave_out_state(weights: Weights) -> None:
    """Leave out the optimizer state of PaddlePaddle.

    Raises:
        ClaimError: If that is all there is.
    """
    state = [name for name in weights.tensors if PADDLE_STATE.fullmatch(name)]
    if not state:
        return
    weights.tensors = {n: c for n, c in weights.tensors.items() if n not in set(state)}
    weights.notes.append(f"left out {quoted_few(state)}: training state, not weights")
    if not weights.tensors:
        raise ClaimError(f"holds no weights; {weights.notes[-1]}")


def _plain(value: object) -> object:
    """Return the number in an array of one element; other values as they are."""
    if isinstance(value, ArrayClaim) and value.dtype and not value.shape:
        return number_in(value)
    return value


def _numbers(path: Path, opened: Opened, weights: Weights) -> Any:
    """Return a function that reads numbers next to the weights, including those in arrays."""
    own = {id(claim) for claim in weights.tensors.values() if claim.shape}
    archive = Archive(FORMAT, None, opened.storages, big_endian=False, size_bytes=opened.size_bytes)

    def number(keys: Keys, value: object) -> int | float | None:
        if id(value) in own:
            return None
        if isinstance(value, TensorClaim):
            is_plain = not opened.is_packed and not opened.encoded and not value.shape
            return scalar(path, archive, value) if is_plain else None
        plain = _plain(value)
        return plain_number(keys, plain)

    return number
