"""Attention heads that formats state themselves: GGUF, Keras, Flax and ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from accweight_adapters.gguf.reader import GgufReader
from accweight_adapters.jax.hints import with_flax_hints
from accweight_adapters.keras_hints import with_keras_hints
from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.naming import layers_of
from accweight_core.schema import Description, Extent, StoredTensor


def told(tensors: Any) -> dict[str, str]:
    """Return the splits by name, in short."""
    return {
        p.name: f"{str(p.split.along)[0]} "
        + " ".join(f"{part.name}{part.heads}" for part in p.split.parts)
        for layer in layers_of(tensors)
        for p in layer.parameters
        if p.split
    }


def tensors(shapes: dict[str, tuple[int, ...]]) -> list[StoredTensor]:
    return [StoredTensor(n, Extent("file", 0, "float32", shape)) for n, shape in shapes.items()]


# ---------------------------------------------------------------- GGUF

BLOCK = {
    "token_embd.weight": (50, 32),
    "blk.0.attn_q.weight": (32, 32),
    "blk.0.attn_q.bias": (32,),
    "blk.0.attn_k.weight": (16, 32),
    "blk.0.attn_v.weight": (16, 32),
    "blk.0.attn_output.weight": (32, 32),
    "blk.0.ffn_up.weight": (64, 32),
    "blk.1.attn_qkv.weight": (64, 32),
}


def gguf_file(path: Path, **notes: int) -> Description:
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in notes.items():
        writer.add_uint32(f"llama.{key.replace('__', '.')}", value)
    for name, shape in BLOCK.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufReader().describe(path)


def test_gguf_notes_give_heads_and_fewer_of_keys(tmp_path: Path) -> None:
    notes = {"attention__head_count": 4, "attention__head_count_kv": 2, "embedding_length": 32}

    found = told(gguf_file(tmp_path / "a.gguf", **notes).tensors)

    assert found == {
        "blk.0.attn_q.weight": "o q4",
        "blk.0.attn_q.bias": "o q4",
        "blk.0.attn_k.weight": "o k2",
        "blk.0.attn_v.weight": "o v2",
        "blk.0.attn_output.weight": "i o4",
        "blk.1.attn_qkv.weight": "o q4 k2 v2",
    }


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"attention__head_count": 4},
        {"attention__head_count": 0, "embedding_length": 32},
        {"attention__head_count": 2**31, "embedding_length": 32},
        {"attention__head_count": 4, "embedding_length": 640},
    ],
    ids=["none", "no width", "no heads", "too many", "of another model"],
)
def test_gguf_notes_that_say_nothing_of_use_are_passed_over(
    tmp_path: Path, notes: dict[str, int]
) -> None:
    description = gguf_file(tmp_path / "a.gguf", **notes)

    assert told(description.tensors) == {}
    assert len(description.tensors) == len(BLOCK)


# ---------------------------------------------------------------- Keras and Flax


def test_keras_layers_of_attention_have_an_axis_of_heads() -> None:
    shapes: dict[str, tuple[int, ...]] = {"mha.key.kernel": (32, 2, 8), "mha.key.bias": (2, 8)}
    shapes |= {"mha.query.kernel": (32, 4, 8), "mha.attention_output.kernel": (4, 8, 32)}
    shapes |= {"mha.query.bias": (4, 8), "mha.attention_output.bias": (32,)}
    shapes |= {"fc.kernel": (32, 8), "conv.kernel": (3, 4, 8)}

    assert told(with_keras_hints(tensors(shapes))) == {
        "mha.key.kernel": "o k2",
        "mha.query.kernel": "o q4",
        "mha.attention_output.kernel": "i o4",
    }


def test_flax_layers_of_attention_have_an_axis_of_heads() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        f"attn.{n}.kernel": (32, 4, 8) for n in ("query", "value")
    }
    shapes |= {"attn.key.kernel": (32, 2, 8), "attn.out.kernel": (4, 8, 32), "mlp.kernel": (32, 8)}

    assert told(with_flax_hints(tensors(shapes))) == {
        "attn.query.kernel": "o q4",
        "attn.value.kernel": "o v4",
        "attn.key.kernel": "o k2",
        "attn.out.kernel": "i o4",
    }


# ---------------------------------------------------------------- ONNX


def saved(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Description:
    io = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    constants = [onnx.numpy_helper.from_array(v, n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", io[:1], io[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return OnnxReader().describe(path)


def test_an_operator_for_attention_states_its_heads(tmp_path: Path) -> None:
    node = helper.make_node(
        "Attention", ["x", "attn.weight", "attn.bias"], ["y"], domain="com.microsoft", num_heads=4
    )
    weights = {"attn.weight": np.ones((32, 96), np.float32), "attn.bias": np.ones(96, np.float32)}

    assert told(saved(tmp_path / "a.onnx", [node], weights).tensors) == {
        "attn.weight": "o q4 k4 v4"
    }


@pytest.mark.parametrize("heads", [0, -1, 5])
def test_heads_that_do_not_divide_the_outputs_are_not_believed(tmp_path: Path, heads: int) -> None:
    node = helper.make_node(
        "Attention", ["x", "attn.weight"], ["y"], domain="com.microsoft", num_heads=heads
    )
    weights = {"attn.weight": np.ones((32, 96), np.float32)}

    assert told(saved(tmp_path / "a.onnx", [node], weights).tensors) == {}


class Attention(nn.Module):
    """Attention as scripts write it: four heads, of which two share keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(32, 32)
        self.k_proj = nn.Linear(32, 16)
        self.v_proj = nn.Linear(32, 16)
        self.o_proj = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[:2]
        q, k, v = (
            layer(x).reshape(*shape, n, 8).transpose(1, 2)
            for layer, n in ((self.q_proj, 4), (self.k_proj, 2), (self.v_proj, 2))
        )
        k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))
        mixed = torch.softmax(q @ k.transpose(2, 3), -1) @ v
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(*shape, 32))
        return out


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy exporter", "dynamo exporter"])
def test_exported_attention_has_the_heads_of_its_reshapes(tmp_path: Path, dynamo: bool) -> None:
    path = tmp_path / "a.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Attention().eval(), (torch.randn(1, 5, 32),), str(path), dynamo=dynamo)

    description = OnnxReader().describe(path)

    found = {p.layer.rpartition(".")[2]: p.split for layer in layers_of(description.tensors)
             for p in layer.parameters if p.split}  # fmt: skip
    assert {n: s.heads_of(n[0]) for n, s in found.items()} == {
        "q_proj": 4,
        "k_proj": 2,
        "v_proj": 2,
    }
    assert {split.origin for split in found.values()} == {"ONNX graph"}
