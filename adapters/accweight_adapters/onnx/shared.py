"""Separate parameters that a torch exporter stored once because their values were equal.

An untrained network has many equal tensors: zero biases, unit norm scales, copied layers. Its file
would list fewer parameters than those of later steps. So every name that the file still reveals is
restored:

- the legacy exporter leaves an Identity whose output has the name: `conv2.bias`, or, if it folds,
  `onnx::MatMul_7`, under which later steps store the tensor;
- if two operators use one initializer, the name follows from the other parameters of the
  operator (`conv2.weight`: its bias is `conv2.bias`), from its module's number (`layers.0.norm1`
  has `layers.0.norm1.weight`, so `layers.1.norm1` has the same), or from its module and the
  parameters that the dynamo exporter lists;
- a zero bias that the dynamo exporter omitted is restored as zeros, if it is listed.

Some names are not revealed, and are left as they are, with a note. All of them come from the dynamo
exporter, which stores equal tensors of up to 1024 elements once (`optimize=False` prevents it): the
`val_7` of a folded matrix without bias, or the slope of a PReLU; a vector whose Split serves
several layers; tables; and matrices of modules that differ by more than a number, or that have
biases of their own, because these are tied rather than equal by chance. Two modules that differ
only by a number and share a matrix count as copies; `onnx::` names of folded tied matrices count
as two parameters, as the file has two names.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import TensorProto

from accweight_adapters.onnx import names
from accweight_adapters.onnx.graph import Constant, Network, Operator, Value
from accweight_adapters.onnx.roles import NORMS, Meaning, meaning_of
from accweight_adapters.onnx.trace import Ints, Use, constant_behind, passes, uses_of
from accweight_core.schema import Role

DIGITS = re.compile(r"\d+")
FOLDED = re.compile(r"val_(\d+)")
DROPPED = "RemoveOptionalBiasFrom"
FUSED = "FuseBatchNormInto"
LEAVES = {Role.WEIGHT: "weight", Role.BIAS: "bias"}
STATISTICS = {3: "running_mean", 4: "running_var"}
PLAIN = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu", *NORMS})
"""Operators whose module calls its parameters weight and bias."""

Edge = tuple[Operator, int]


@dataclass(frozen=True, slots=True)
class Site:
    """One use of a constant: the edge, and the operator whose layer it belongs to.

    Attributes:
        layer: Operator of the layer that the constant belongs to here.
        operator: Operator that takes it; another one if a bias is added later.
        index: Index of the input.
        entry: Operator and input of the constant itself: the same, or those of a Transpose before.
        leaf: Torch's name of a parameter at this input; empty if it varies.
    """

    layer: Operator
    operator: Operator
    index: int
    entry: Edge
    leaf: str

    @property
    def module(self) -> str:
        """Module recorded by the exporter, or part of the node's name."""
        if self.layer.module or not self.layer.name.startswith("/"):
            return self.layer.module
        return names.module_of_node(self.layer.name, "")

    def is_like(self, other: Site) -> bool:
        """Tell whether the constant enters the same kind of operator at the same input."""
        return self.layer is other.layer or (
            (self.layer.type, self.operator.type, self.index)
            == (other.layer.type, other.operator.type, other.index)
        )


def separate(network: Network, ints: Ints) -> None:
    """Give every parameter that shares a stored tensor a constant of its own."""
    _Separation(network).behind_identities()
    derivation = _Derivation(network, ints)
    derivation.run()
    derivation.restore_zeros()


@dataclass
class _Separation:
    """Assigns new names to constants, each name once."""

    network: Network
    taken: set[str] = field(default_factory=set)
    made: dict[tuple[int, str], Constant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taken = {constant.name for constant in self.network.constants}

    def behind_identities(self) -> None:
        """Turn each Identity that gives a stored tensor a second name into a constant."""
        for operator in self.network.operators:
            source = operator.input(0)
            if operator.type != "Identity" or source is None or not operator.outputs:
                continue
            output = operator.outputs[0]
            named = output.users and names.is_parameter(output.name)
            if named and source.producer is None and len(source.users) > 1:
                alias = source.constant and self.alias(source.constant, output.name)
                if alias:
                    source.users.remove((operator, 0))
                    output.producer, output.constant = None, alias
                    alias.values.append(output)

    def alias(self, constant: Constant, name: str) -> Constant | None:
        """Return the constant of that name with the same tensor, or None if the name is taken."""
        key = id(constant), name
        if key not in self.made and name not in self.taken:
            copy = Constant(
                name, constant.tensor, constant.from_node, constant.sparse_shape, constant.is_zeros
            )
            self.made[key] = copy
            self.taken.add(name)
            self.network.constants.append(copy)
        return self.made.get(key)

    def move(self, constant: Constant, entry: Edge, name: str) -> None:
        """Make an operator use a constant of its own instead of the shared one."""
        alias = self.alias(constant, name)
        if alias is not None:
            operator, index = entry
            constant.values[0].users.remove(entry)
            value = Value(name, alias, users=[entry])
            operator.inputs[index] = value
            alias.values.append(value)


class _Derivation:
    """Derives names for the uses of shared constants."""

    def __init__(self, network: Network, ints: Ints) -> None:
        self._network = network
        self._shared: dict[str, list[Site]] = {}
        self._of_layer: dict[int, list[tuple[str, str]]] = defaultdict(list)
        self._has_own: set[int] = set()
        self._present = {constant.name for constant in network.constants}
        self._results = {value.name for o in network.operators for value in o.outputs}
        for constant in network.constants:
            sites = list(_sites(constant, ints))
            layers = {id(site.layer) for site in sites}
            if len(layers) > 1:
                self._shared[constant.name] = sites
            elif layers and _is_torch_name(constant.name):
                self._of_layer[id(sites[0].layer)].append((constant.name, sites[0].leaf))
                self._has_own |= layers

    def run(self) -> None:
        """Name the constants, until no further name can be derived."""
        named: dict[str, dict[Site, str]] = {constant: {} for constant in self._shared}
        progress = True
        while progress:
            progress = False
            for constant, sites in self._shared.items():
                for site in sites:
                    name = "" if site in named[constant] else self._name(constant, site, sites)
                    if name:
                        named[constant][site] = name
                        self._of_layer[id(site.layer)].append((name, site.leaf))
                        progress = True
        separation = _Separation(self._network)
        for shared in list(self._network.constants):
            if shared.name in named and len(shared.values) == 1:  # else in a function's body
                _move(separation, shared, self._shared[shared.name], named[shared.name])

    def _name(self, constant: str, site: Site, sites: list[Site]) -> str:
        """Return the name of a shared constant at one use, or ''."""
        if site.leaf == "weight" and site.layer.type not in NORMS:
            if id(site.layer) in self._has_own:
                return ""
            folded = FOLDED.fullmatch(constant) is not None
            name = _numbered_alike(constant, site, sites) if folded else ""
            if folded:
                return "" if name in self._present | self._results else name
            return self._checked(_like_its_own(constant, site, sites), constant)
        return self._vector_name(site, constant, sites)

    def _vector_name(self, site: Site, constant: str, sites: list[Site]) -> str:
        """Return the name of a vector, derived from the other parameters of the operator, or ''."""
        for name, leaf in self._of_layer.get(id(site.layer), []):
            if not (leaf and site.leaf and name.endswith(leaf)):
                continue
            told = name.removesuffix(leaf) + site.leaf
            fused = any(rule.startswith(FUSED) for rule in site.layer.rules)
            if fused and leaf == "weight" and told not in self._network.stated:
                return f"{name}_bias" if f"{name}_bias" not in self._present else ""
            return self._checked(told, constant)
        carried = _like_its_own(constant, site, sites, anywhere=bool(self._network.stated))
        return self._checked(carried, constant) or self._stated(site, constant)

    def _checked(self, name: str, own: str) -> str:
        """Return a name if it is free, or the constant's own if the exporter would use it."""
        stated = not self._network.stated or name in self._network.stated
        return name if stated and (name == own or name not in self._present) else ""

    def _stated(self, site: Site, own: str) -> str:
        """Return the parameter of the use's module that the exporter listed, or ''."""
        name = f"{site.module}.{site.leaf}" if site.leaf else ""
        return self._checked(name, own) if name in self._network.stated else ""

    def restore_zeros(self) -> None:
        """Restore biases that the exporter omitted because they were zero."""
        for operator in self._network.operators:
            if len(operator.inputs) != 2 or operator.rules[:1] != (DROPPED + operator.type,):
                continue
            weight = constant_behind(operator.input(1))
            if weight is None or not self._network.stated or not _outputs(operator, weight):
                continue
            name = self._vector_name(Site(operator, operator, 2, (operator, 2), "bias"), "", [])
            if name:
                self._present.add(name)
                self._network.constants.append(_zeros(name, operator, weight))


def _sites(constant: Constant, ints: Ints) -> Iterator[Site]:
    """Yield the uses at which a constant has a meaning."""
    elements, rank = math.prod(constant.shape), len(constant.shape)
    edges = [edge for value in constant.values for edge in value.users]
    entries = {end: edge for edge in edges for end in _ends(edge)}
    for use in uses_of(constant, ints):
        meaning = meaning_of(use, elements, rank)
        if meaning.certain:
            entry = entries[use.operator, use.index]
            yield Site(meaning.operator, use.operator, use.index, entry, _leaf(use, meaning))


def _ends(edge: Edge) -> Iterator[Edge]:
    """Yield the edges where a value is used, followed through operators that pass it on."""
    waiting, seen = [edge], {edge}
    while waiting:
        operator, index = waiting.pop()
        if not passes(operator, index):
            yield operator, index
            continue
        onward = {user for output in operator.outputs for user in output.users} - seen
        waiting += onward
        seen |= onward


def _leaf(use: Use, meaning: Meaning) -> str:
    """Return torch's name of a parameter at that input, or ''."""
    layer = meaning.operator
    if meaning.role is Role.NORM:
        written_out = use.operator is not layer
        shift = use.operator.type in ("Add", "Sub") if written_out else use.index == 2
        return "bias" if shift else "weight"
    if layer.type not in PLAIN:
        return ""
    if meaning.role is Role.BUFFER:
        return STATISTICS.get(use.index, "")
    return LEAVES.get(meaning.role, "")


def _is_torch_name(name: str) -> bool:
    return "." in name and names.is_parameter(name)


def _like_its_own(constant: str, site: Site, sites: list[Site], *, anywhere: bool = False) -> str:
    """Return the constant's name with the use's module in place of its own.

    Unless `anywhere` is set, the modules may differ in numbers only.
    """
    for own in sites:
        tail = constant.removeprefix(own.module + ".") if own.module else constant
        if tail != constant and site.is_like(own):
            return f"{site.module}.{tail}" if anywhere or _alike(site, own) else ""
    return ""


def _alike(site: Site, other: Site) -> bool:
    return DIGITS.sub("#", site.module) == DIGITS.sub("#", other.module)


def _numbered_alike(constant: str, site: Site, sites: list[Site]) -> str:
    """Return the name that the dynamo exporter would have generated for a folded matrix.

    It numbers the values of a layer consecutively: the matrix, then its product. If that holds for
    the product of the constant's own layer, it is assumed for the others.
    """
    own = sites[0]
    product, first = FOLDED.fullmatch(_result(site)), FOLDED.fullmatch(_result(own))
    if product is None or first is None or not own.is_like(site) or own.module == site.module:
        return ""
    follows = f"val_{int(first[1]) - 1}" == constant
    return f"val_{int(product[1]) - 1}" if follows and _alike(site, own) else ""


def _result(site: Site) -> str:
    return site.layer.outputs[0].name if site.layer.outputs else ""


def _move(
    separation: _Separation, shared: Constant, sites: list[Site], named: dict[Site, str]
) -> None:
    """Move the uses of a shared constant to the names found, except one."""
    told: dict[Edge, set[str]] = defaultdict(set)
    for site in sites:
        told[site.entry].add(named.get(site, shared.name))
    moving = {
        entry: name
        for entry, found in told.items()
        if len(found) == 1 and (name := min(found)) != shared.name
    }
    if len(moving) < len(shared.values[0].users):
        for entry, name in moving.items():
            separation.move(shared, entry, name)


def _outputs(operator: Operator, weight: Constant) -> int:
    """Return the number of outputs of a weight; 0 if it cannot be the operator's."""
    if len(weight.shape) < 2 or min(weight.shape) < 1:
        return 0
    if operator.type == "ConvTranspose":
        groups = operator.integer("group", 1)
        return weight.shape[1] * groups if 0 < groups <= weight.shape[0] else 0
    transposed = operator.type == "Gemm" and not operator.integer("transB", 0)
    return weight.shape[1 if transposed else 0]


def _zeros(name: str, operator: Operator, weight: Constant) -> Constant:
    """Return the omitted bias of an operator, one zero per output."""
    outputs = _outputs(operator, weight)
    tensor = TensorProto(name=name, dims=[outputs], data_type=weight.tensor.data_type)
    bias = Constant(name, tensor, is_zeros=True)
    bias.values.append(Value(name, bias, users=[(operator, 2)]))
    operator.inputs.append(bias.values[0])
    return bias
