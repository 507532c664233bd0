"""The content of a pickle as a tree: which values have children, and by which names.

Mappings of any class have their items as children, whole modules their state dict. Objects of other
classes, and lists of bare tensors, are opaque unless everything is to be searched: such lists are
mostly histories and random states. Every node is visited once, so that cycles and repeated
mappings cost no more than the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from accweight_adapters.measures import names_measure
from accweight_adapters.model_keys import MAX_DEPTH, TRAINING_STATE
from accweight_adapters.pickles.modules import is_module, state_of
from accweight_adapters.pickles.values import ArrayClaim, Claim, Entity, TensorClaim
from accweight_adapters.untrusted import ClaimError, quoted
from accweight_core.dtypes import DTYPES

Path = tuple[str, ...]
"""Keys on the path to a tensor."""

Entry = tuple[Path, Claim]

Leaf = tuple[Path, Claim, Path | None]
"""A tensor with its keys, and the keys of the training state around it, if any."""

RANK_OF_WEIGHTS: Final = 2
"""Axes from which arrays in a list are taken for weights, not for what was logged."""

DEEPEST: Final = 2 * MAX_DEPTH
"""Depth below which nothing is searched; tensors as deep as that are an error."""

MOST_VISITS: Final = 2_000_000
"""Most values that are searched: objects may share their contents, a thousand times each."""

TREES = re.compile(r"sklearn\.(tree|ensemble)\.")
"""Decision trees, whose arrays are thresholds and counts."""

INSIDE = re.compile(r"(.*_)?(state_dict|params|parameters|weights)")
"""Keys of mappings in which everything is the model's, whatever its layers are called."""

USER_DICT: Final = "collections.UserDict"


def opened(content: object) -> object:
    """Return what a checkpoint's content is: inside arrays without axes, and named if alone."""
    if isinstance(content, ArrayClaim) and len(content.objects) == 1 and not content.shape:
        content = content.objects[0]
    if isinstance(content, TensorClaim) or is_numeric(content):
        return {"tensor": content}
    return content


def mapping_of(content: object, *, attributes: bool = True) -> Mapping[Any, Any]:
    """Return the entries of a checkpoint's content: items, or attributes of an object."""
    content = opened(content)
    if isinstance(content, Entity) and not content:
        items = _items_of(content)
        return items if items or is_module(content) or not attributes else content.attributes
    return content if isinstance(content, dict) else {}


def is_numeric(node: object) -> bool:
    """Tell whether this is an array of numbers."""
    return isinstance(node, ArrayClaim) and bool(node.dtype)


class Walk:
    """One walk over a content, each of its containers once.

    Attributes:
        passed: Keys of lists of matrices that were not searched.
        in_modules: Identities of the tensors that lie in whole modules.
    """

    def __init__(self, *, everywhere: bool = False) -> None:
        """Begin a walk.

        Args:
            everywhere: Whether to search lists of bare tensors and the attributes of objects too.
        """
        self.passed: list[Path] = []
        self.in_modules: set[int] = set()
        self._everywhere = everywhere
        self._seen: set[int] = set()
        self._visits = 0

    def leaves(self, root: object) -> list[Leaf]:
        """Return every tensor with its keys.

        Raises:
            ClaimError: If tensors are nested more than `MAX_DEPTH` deep.
        """
        leaves = list(self._below(root, (), None))
        if not self._everywhere:
            return leaves
        public = [leaf for leaf in leaves if not any(key.startswith("_") for key in leaf[0])]
        return public or leaves

    def _below(self, node: object, path: Path, within: Path | None) -> Iterator[Leaf]:
        """Yield the tensors below a node, which is at a path within training state or None."""
        if isinstance(node, TensorClaim) or _is_weight(node, self._everywhere):
            if len(path) > MAX_DEPTH:
                raise ClaimError(f"nests its tensors more than {MAX_DEPTH} deep")
            yield path, node, within  # type: ignore[misc]  # _is_weight accepts claims alone
            return
        if len(path) > DEEPEST or not isinstance(node, (dict, list, tuple, ArrayClaim)):
            return
        if isinstance(node, Entity) and not node and not is_module(node):
            node = _items_of(node) or node  # which other objects may share
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        children = _children(node, self._everywhere, path[-1] if path else "")
        if is_module(node):
            self.in_modules.update(id(child) for _, child in children)
        self._visits += len(children)
        if self._visits > MOST_VISITS:
            raise ClaimError(f"has more than {MOST_VISITS} values in its mappings and lists")
        if within is None and _is_training_state(node, path):
            within = path
        if within is None and not children and _holds_matrices(node):
            self.passed.append(path)
        for key, child in children:
            yield from self._below(child, (*path, key), within)


def _is_weight(node: object, everywhere: bool) -> bool:
    """Tell whether an array may be a weight; labels and counters in objects are not."""
    if not isinstance(node, ArrayClaim) or not node.dtype:
        return False
    return not everywhere or is_fractional(node)


def _holds_matrices(node: object) -> bool:
    """Tell whether a list holds bare tensors that look like weights, quantised ones too."""
    return isinstance(node, (list, tuple)) and any(
        isinstance(item, (TensorClaim, ArrayClaim))
        and len(item.shape) >= RANK_OF_WEIGHTS
        and (is_fractional(item) or bool(item.refusal))
        for item in node
    )


def is_fractional(claim: Claim) -> bool:
    """Tell whether a tensor or an array holds floating-point numbers."""
    known = DTYPES.get(claim.dtype)
    return known is not None and known.family in ("float", "complex")


def _children(node: object, everywhere: bool, name: str) -> list[tuple[str, object]]:
    """Return the children of a node by name; opaque values have none."""
    if isinstance(node, Entity):
        return _named(_entity_children(node, everywhere))
    if isinstance(node, dict):
        return _named(node)
    items = node.objects if isinstance(node, ArrayClaim) else node
    if not isinstance(items, (list, tuple)) or not items:
        return []
    pairs = _pairs(items)
    if pairs:
        return _named(pairs)
    if any(_has_items(item) for item in items) or (everywhere and not names_measure(name)):
        return [(str(index), item) for index, item in enumerate(items)]
    return []


def _pairs(items: Sequence[object]) -> dict[str, object]:
    """Return what pairs of a name and a tensor hold, as `list(module.named_parameters())` is."""
    pairs: dict[str, object] = {}
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            return {}
        name, value = item
        if not isinstance(name, str) or not isinstance(value, (TensorClaim, ArrayClaim)):
            return {}
        pairs[name] = value
    return pairs if len(pairs) == len(items) else {}


def _named(mapping: Mapping[Any, object]) -> list[tuple[str, object]]:
    return [(key if isinstance(key, str) else quoted(key), mapping[key]) for key in mapping]


def _has_items(item: object) -> bool:
    if isinstance(item, Entity):
        return bool(item) or is_module(item) or bool(_items_of(item))
    return isinstance(item, dict)


def _entity_children(entity: Entity, everywhere: bool) -> Mapping[Any, object]:
    if is_module(entity):
        return state_of(entity)
    items = _items_of(entity)
    if items or not everywhere or TREES.match(entity.kind):
        return items
    inner = (*entity.arguments, *(entity.listed or ()))
    numbered: Iterable[tuple[str, object]] = ((str(i), value) for i, value in enumerate(inner))
    return {**dict(numbered), **entity.attributes}


def _items_of(entity: Entity) -> dict[Any, object]:
    """Return the items of a mapping: set one by one, or given to its class as a dict."""
    if entity:
        return entity
    if entity.kind == USER_DICT:
        data = entity.attributes.get("data")
        return data if isinstance(data, dict) else {}
    if len(entity.arguments) == 1 and not entity.attributes:
        (only,) = entity.arguments
        if isinstance(only, dict):
            return only
    return {}


def _is_training_state(node: object, path: Path) -> bool:
    if isinstance(node, dict) and {"state", "param_groups"} <= node.keys():
        return True
    if not path or any(map(INSIDE.fullmatch, path[:-1])):
        return False
    return TRAINING_STATE.search(path[-1].lower()) is not None
