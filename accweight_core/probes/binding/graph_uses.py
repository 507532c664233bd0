"""What a graph knows of the parameters of a run: what each is used for, and in which order.

Names tell it as well, but less surely: a table of positions may be called like a matrix, and files
may keep tensors in the order of a class, or by name. With the graph, runs in files of any format
are the same to a probe.
"""

from __future__ import annotations

from dataclasses import replace

from accweight_core.naming import usual_axes
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.binding.described import Described
from accweight_core.schema import Kind, Layer, Parameter, Role, Run


def as_in_graph(run: Run, binding: Binding) -> Run:
    """Return a run with its layers as a graph uses them: in its order, with its kinds and roles.

    Layers that the graph does not have come last, and stay as they are. Names stay those of the
    run, and so do the axes of a parameter whose role the graph confirms.

    Args:
        run: The run.
        binding: Of which tensors of the run those of the graph are made.
    """
    known = Described.of(binding.network).parameters
    place = {name: at for at, name in enumerate(known)}
    uses: dict[str, Parameter] = {}
    order: dict[str, int] = {}
    for item in binding.assignments:
        at = place.get(item.name, len(place))
        for source in item.sources:
            order[source] = min(order.get(source, at), at)
        if len(item.sources) == 1 and item.name in known:
            uses.setdefault(item.sources[0], known[item.name])
    last = len(place) + 1

    def first(layer: Layer) -> int:
        return min((order.get(p.name, last) for p in layer.parameters), default=last)

    def used(layer: Layer) -> Layer:
        kinds = [uses[p.name].kind for p in layer.parameters if p.name in uses]
        kind = next((kind for kind in kinds if kind is not Kind.OTHER), layer.kind)
        ordered = sorted(layer.parameters, key=lambda p: order.get(p.name, last))
        return Layer(layer.name, kind, tuple(_used(p, uses.get(p.name), kind) for p in ordered))

    return replace(run, layers=tuple(used(layer) for layer in sorted(run.layers, key=first)))


def _used(parameter: Parameter, use: Parameter | None, kind: Kind) -> Parameter:
    """Return a parameter with the kind of its layer, and with the role that its use gives it.

    With another role, its axes mean something else, and nothing is known of parts of it.
    """
    role = parameter.role if use is None or use.role is Role.BUFFER else use.role
    if role is parameter.role:
        return replace(parameter, kind=kind)
    axes = usual_axes(parameter.shape, kind, role)
    return replace(parameter, kind=kind, role=role, axes=axes, sections=(), split=None)
