"""Find the weights in a training script's checkpoint.

A checkpoint may be the state dict itself, or contain it under `model`, `state_dict`, `net`, next to
optimizer states, averaged copies, losses and counters, and in several wrappers. The content is
first flattened to paths of keys, each mapping once (so that cycles and repeated mappings cost no
more than the file), and all decisions are based on those paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from accweight_adapters.model_keys import MAX_DEPTH, TRAINING_STATE, WRAPPER, without_copies
from accweight_adapters.torch.pickle_globals import TensorClaim
from accweight_adapters.untrusted import ClaimError, checked_name, quoted, quoted_few, step_among

Path = tuple[str, ...]
"""Keys on the path to a tensor."""

Entry = tuple[Path, TensorClaim]

Leaf = tuple[Path, TensorClaim, Path | None]

WRAPPING_SEGMENTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts that torch.compile, FSDP and activation checkpointing insert anywhere in names."""


@dataclass(slots=True)
class Weights:
    """The weights of a checkpoint.

    Attributes:
        tensors: The weights by name, in the file's order.
        notes: What was left out or kept unchanged, and why.
    """

    tensors: dict[str, TensorClaim] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_weights(content: object) -> Weights:
    """Return the weights in `content`, with the names of the model's own state dict.

    Raises:
        ClaimError: If there are none, or if names are invalid or clash.
    """
    weights = Weights()
    if isinstance(content, TensorClaim):
        content = {"tensor": content}
    entries = _without_training_state(content, weights.notes)
    if not entries:
        beside = f"; {weights.notes[0]}" if weights.notes else ""
        raise ClaimError(f"holds no weights: no tensor by a name in a mapping{beside}")
    for path, tensor in _models(entries, weights.notes):
        name = checked_name(".".join(path))
        if name in weights.tensors:
            raise ClaimError(f"holds two tensors that would both be called {quoted(name)}")
        weights.tensors[name] = tensor
    return weights


def find_step(content: object) -> tuple[int, str] | None:
    """Return the step next to the weights and its key, or None."""
    return step_among(content) if isinstance(content, dict) else None


def _without_training_state(content: object, notes: list[str]) -> list[Entry]:
    """Return all tensors except training state."""
    leaves = list(_leaves(content))
    left_out = list(dict.fromkeys(within for *_, within in leaves if within is not None))
    if left_out:
        what = "everything" if left_out == [()] else quoted_few(list(map(".".join, left_out)))
        notes.append(f"left out {what}: training state, not weights")
    return [(path, tensor) for path, tensor, within in leaves if within is None]


def _leaves(root: object) -> Iterator[Leaf]:
    """Yield every tensor with its keys, and the keys of the training state around it, if any."""
    seen: set[int] = set()

    def walk(node: object, path: Path, within: Path | None) -> Iterator[Leaf]:
        if isinstance(node, TensorClaim):
            if len(path) > MAX_DEPTH:
                raise ClaimError(f"nests its tensors more than {MAX_DEPTH} deep")
            yield path, node, within
        children = _children(node)
        if not children or id(node) in seen:
            return
        seen.add(id(node))
        if within is None and _is_training_state(node, path):
            within = path
        for key, child in children:
            yield from walk(child, (*path, key), within)

    return walk(root, (), None)


def _children(node: object) -> list[tuple[str, object]]:
    """Return the entries of a mapping or of a list of mappings; other values have none."""
    if isinstance(node, dict):
        return [(key if isinstance(key, str) else quoted(key), node[key]) for key in node]
    if isinstance(node, (list, tuple)) and any(isinstance(item, dict) for item in node):
        return [(str(index), item) for index, item in enumerate(node)]
    return []


def _is_training_state(node: object, path: Path) -> bool:
    if isinstance(node, dict) and {"state", "param_groups"} <= node.keys():
        return True
    return bool(path) and TRAINING_STATE.search(path[-1].lower()) is not None


def _models(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Remove wrapping keys; several models side by side keep their keys."""
    direct, groups = _grouped(entries)
    is_beside = any("." in path[0] for path, _ in direct)
    groups = without_copies(groups, notes, is_model_beside=is_beside)
    if any(_is_model(key, group) for key, group in groups.items()):
        direct = _without_strays(direct, notes)
    if not groups:
        return _unwrapped_names(direct, notes)
    if not direct and len(groups) == 1:
        ((key, group),) = groups.items()
        if _is_model(key, group):
            return _models(group, notes)
    for key, group in groups.items():
        direct = direct + [((key, *path), tensor) for path, tensor in _models(group, notes)]
    return direct


def _grouped(entries: list[Entry]) -> tuple[list[Entry], dict[str, list[Entry]]]:
    """Return the tensors at this level, and the deeper ones by first key."""
    direct: list[Entry] = []
    groups: dict[str, list[Entry]] = {}
    for path, tensor in entries:
        if len(path) == 1:
            direct.append((path, tensor))
        else:
            groups.setdefault(path[0], []).append((path[1:], tensor))
    return direct, groups


def _is_model(key: str, group: list[Entry]) -> bool:
    """Tell a model from a layer: by its key, or by names with several parts."""
    if WRAPPER.fullmatch(key.lower()):
        return True
    return any(len(path) > 1 or "." in path[0] for path, _ in group)


def _without_strays(direct: list[Entry], notes: list[str]) -> list[Entry]:
    """Leave out tensors next to models (a loss, fixed noise), except those named as weights."""
    if not direct or any("." in path[0] for path, _ in direct):
        return direct
    names = [".".join(path) for path, _ in direct]
    notes.append(f"left out {quoted_few(names)}: tensors beside the model, not in it")
    return []


def _unwrapped_names(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Remove the prefixes of wrappers from names, unless two names would become equal."""
    names = [path[0] for path, _ in entries]
    stripped = _stripped(names)
    if stripped == names:
        return entries
    if len(set(stripped)) < len(names) or "" in stripped:
        notes.append("names keep their wrapping prefixes: without them two would be the same")
        return entries
    return [((name,), tensor) for name, (_, tensor) in zip(stripped, entries, strict=True)]


def _stripped(names: list[str]) -> list[str]:
    names = [
        ".".join(part for part in name.split(".") if part not in WRAPPING_SEGMENTS)
        for name in names
    ]
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return names
