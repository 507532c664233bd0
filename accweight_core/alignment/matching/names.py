"""Compare layer names that different programs wrote.

Wrappers (`module.`, `_orig_mod.`) and separators carry no information, exporters append operators
and numbers, and every library has its own word for a dense layer. Each `Keys` is coarser than the
one before; a key counts only if it is unique on both sides, so a coarse one does no harm.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from accweight_core.schema import Layer

Path = tuple[str, ...]
"""A name split into its parts."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WRAPPERS = _words(
    "module _orig_mod model root net network params state_dict _forward_module graph functional "
    "_fsdp_wrapped_module _checkpoint_wrapped_module model_weights layer_with_weights sequential"
)
"""Leading parts of names that name a wrapper and not the layer."""

_SEPARATORS = re.compile(r"(?:::|__|[/.:])+")
_VARIABLE_NUMBER = re.compile(r":\d+$")
_COUNTED = re.compile(r"^(.*?[a-z])_?(\d+)$")
_OPERATORS = _words(
    "conv convtranspose gemm matmul lstm gru rnn gather batchnormalization layernormalization "
    "qlinearconv matmulinteger fusedconv"
)
_MADE_UP = re.compile(
    r"(onnx::\w+|val_\d+|node_\w+|\d+|(const|constant|initializer|parameter|tensor|w|b|times|plus"
    r"|graph)(fold)?[_-]?\d+(_\w+)?|(conv|gemm|matmul|lstm|gru|gather|fused\w*)_\d+)",
    re.IGNORECASE,
)

_WORDS = {
    "linear": "linear dense fc lin fully_connected fullyconnected affine gemm matmul",
    "conv": "conv conv1d conv2d conv3d convolution",
    "bn": "bn batchnorm batchnorm1d batchnorm2d batchnorm3d batch_norm batch_normalization",
    "ln": "ln layernorm layer_norm layer_normalization",
    "attention": "attention attn self_attn self_attention selfattention mha multi_head_attention "
                 "multiheadattention multiheaddotproductattention",
    "query": "query q q_proj wq q_lin query_proj to_q",
    "key": "key k k_proj wk k_lin key_proj to_k",
    "value": "value v v_proj wv v_lin value_proj to_v",
    "attention_output": "o o_proj out_proj wo attention_output to_out",
    "embedding": "embed embedding embeddings emb tok_emb tok wte tok_embeddings word_embeddings "
                 "embed_tokens words",
    "block": "h block blocks layer layers resblock encoder_block",
    "mlp": "mlp ffn feed_forward ff",
    "output": "head out output classifier logits lm_head decoder_out",
}  # fmt: skip
_SYNONYM = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}

AUTOMATIC = _words(
    "dense conv conv1d conv2d conv3d batch_normalization batchnorm layer_normalization layernorm "
    "embedding embed embeddings lstm gru bidirectional dense_general densegeneral sequential "
    "depthwise_conv2d separable_conv2d conv1d_transpose conv2d_transpose convtranspose simple_rnn "
    "multi_head_attention einsum_dense time_distributed functional"
)
"""Names that Keras and Flax generate, numbered through a session."""


@cache
def path_of(name: str) -> Path:
    """Return the parts of a name, lower case, without wrappers at the front.

    >>> path_of("module.encoder/conv1:0")
    ('encoder', 'conv1')
    """
    parts = [part.lower() for part in _SEPARATORS.split(_VARIABLE_NUMBER.sub("", name)) if part]
    while len(parts) > 1 and parts[0] in WRAPPERS:
        parts = parts[1:]
    return tuple(parts) or (name.lower(),)


@cache
def is_made_up(name: str) -> bool:
    """Tell whether an exporter generated this name, so that it does not describe the layer."""
    return _MADE_UP.fullmatch(name) is not None


def counted(part: str) -> tuple[str, str]:
    """Return a part without its trailing number, and the number.

    >>> counted("conv2d_1"), counted("fc"), counted("layers_0")
    (('conv2d', '1'), ('fc', ''), ('layers', '0'))
    """
    if part in _SYNONYM:
        return part, ""
    match = _COUNTED.match(part)
    return (match[1], match[2]) if match else (part, "")


def automatic(part: str) -> tuple[str, int] | None:
    """Return the base and number of a name that Keras or Flax generated, else None."""
    if part in AUTOMATIC:
        return part, 0
    match = re.match(r"^(.*?)_(\d+)$", part)
    return (match[1], int(match[2])) if match and match[1] in AUTOMATIC else None


def _recounted(paths: Sequence[Path]) -> list[Path]:
    """Return paths with generated names renumbered from 0 within their parent.

    The numbers go on through a session, so the second network of a program begins with `conv2d_4`.
    """
    first: dict[tuple[Path, str], int] = {}
    for path in paths:
        for depth, part in enumerate(path):
            found = automatic(part)
            if found:
                key = path[:depth], found[0]
                first[key] = min(found[1], first.get(key, found[1]))
    return [
        tuple(_counted_from(part, path[:depth], first) for depth, part in enumerate(path))
        for path in paths
    ]


def _counted_from(part: str, parent: Path, first: dict[tuple[Path, str], int]) -> str:
    found = automatic(part)
    return f"{found[0]}_{found[1] - first[parent, found[0]]}" if found else part


def _without_root(paths: Sequence[Path]) -> list[Path]:
    """Return paths without their common leading parts."""
    shared = 0
    if len(paths) > 1:
        shortest = min(map(len, paths)) - 1
        while shared < shortest and len({path[shared] for path in paths}) == 1:
            shared += 1
    return [path[shared:] for path in paths]


def _meant(path: Path) -> Path:
    """Return a path in canonical words, with numbers as separate parts and without operators."""
    parts: list[str] = []
    for place, part in enumerate(path):
        base, number = counted(part)
        if place and place == len(path) - 1 and base in _OPERATORS and path[place - 1] != part:
            continue
        parts += [_SYNONYM.get(base, base), number] if number else [_SYNONYM.get(base, base)]
    return tuple(parts)


def keys_of(layers: Sequence[Layer]) -> list[list[Path]]:
    """Return one key per layer and kind of key, finest kind first."""
    recounted = _recounted([path_of(layer.name) for layer in layers])
    rootless = _without_root(recounted)
    meant = _without_root([_meant(path) for path in rootless])
    return [recounted, rootless, meant, [_from_block(path) for path in meant]]


def _from_block(path: Path) -> Path:
    """Return a path from its first numbered part on; the module above has many names."""
    number = next((place for place, part in enumerate(path) if part.isdecimal()), 0)
    return path[number - 1 :] if 0 < number < len(path) - 1 else path


def unique_pairs(
    left: Sequence[Path | None], right: Sequence[Path | None]
) -> list[tuple[int, int]]:
    """Return pairs of positions whose key is unique on both sides; None is not a key."""
    here = Counter(key for key in left if key)
    there = Counter(key for key in right if key)
    place = {key: j for j, key in enumerate(right) if key and there[key] == 1}
    return [
        (i, place[key]) for i, key in enumerate(left) if key and here[key] == 1 and key in place
    ]


def words_of(name: str) -> frozenset[str]:
    """Return the informative words of a name; none if the name was generated."""
    if is_made_up(name):
        return frozenset()
    words: set[str] = set()
    for part in path_of(name):
        base, number = counted(part)
        words.add(_SYNONYM.get(base, base))
        if number:
            words.add(f"{_SYNONYM.get(base, base)}{number}")
            words.add(f"#{number}")
        if part.isdecimal():
            words.add(f"#{part}")
        words.update(_SYNONYM.get(word, word) for word in base.split("_") if word)
    return frozenset(words)


def similarities(left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the similarity of names, (left, right), 0 to 1.

    Words are weighted by inverse document frequency over both sides, so words in every name count
    little. The score is the mean of Dice's coefficient, which needs all words of both names, and
    of containment, which needs those of the shorter name.
    """
    said = _places_of_words(left), _places_of_words(right)
    common = np.zeros((len(left), len(right)))
    lengths = np.zeros(len(left)), np.zeros(len(right))
    for word in sorted(said[0].keys() | said[1].keys()):  # a fixed order, for equal sums
        places = [side.get(word, []) for side in said]
        weight = math.log((len(left) + len(right) + 1) / sum(map(len, places)))
        for at, length in zip(places, lengths, strict=True):
            if len(at) == len(length) > 1:
                weight *= 0.1
        rows, columns = (_index(at, len(side)) for at, side in zip(places, lengths, strict=True))
        lengths[0][rows] += weight
        lengths[1][columns] += weight
        common[rows if isinstance(rows, slice) else rows[:, None], columns] += weight
    smaller = np.minimum.outer(lengths[0], lengths[1])
    both = np.add.outer(lengths[0], lengths[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = common / both + 0.5 * common / smaller
    found: npt.NDArray[np.float64] = np.clip(np.nan_to_num(alike, posinf=0), 0, 1).astype(
        np.float64
    )
    return found


def _places_of_words(names: Sequence[str]) -> dict[str, list[int]]:
    """Return, for every word, the positions of the names that contain it."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for word in words_of(name):
            found.setdefault(word, []).append(place)
    return found


def _index(places: list[int], count: int) -> slice | npt.NDArray[np.intp]:
    """Return an index of these positions: a slice if it is all of them, which is faster."""
    return slice(None) if len(places) == count else np.array(places, dtype=np.intp)
