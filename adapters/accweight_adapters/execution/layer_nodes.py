"""Which value of a graph is that of a layer: its result before the activation function.

The reader of ONNX files finds the layers, and the operators that use their parameters. The last of
these, the Add of a bias that is written out for instance, makes the value that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from accweight_adapters.onnx.layers import Layer
from accweight_core.schema import Role


def node_of(layer: Layer) -> str:
    """Return the name of the value of a layer; empty if it has none.

    Layers have none that are not used, that have buffers only, or that are a table which is added
    to the result of another layer: what comes of it is no result of the table.
    """
    if layer.is_table:
        return ""
    users = [
        part.use.operator
        for part in layer.parts
        if part.use.operator.type and part.role is not Role.BUFFER
    ]
    if not users:
        return ""
    if layer.operator.type:
        users.append(layer.operator)
    last = max(users, key=lambda operator: operator.index)
    return last.outputs[0].name if last.outputs else ""


def layer_nodes(layers: Sequence[Layer], parameters: Collection[str]) -> dict[str, str]:
    """Return the value's name of every layer that has one, in network order.

    Args:
        layers: The layers.
        parameters: Names that parameters have: a layer of such a name goes by that of its value, so
            that a gradient with respect to it is not that of the parameter.
    """
    found = {layer.name: node_of(layer) for layer in layers}
    return {
        node if name in parameters and node not in found else name: node
        for name, node in found.items()
        if node
    }
