"""Files of every format to damage, and the long hunt for damage that a reader does not survive.

The tests damage each a few hundred times, always alike. By hand, as often as you like::

    python tests/hostile_files.py --cases 20000 --seed 1 [--format "torch zip"]

A case fails if anything but a one-line refusal comes out, if it takes more than a few seconds,
or if it needs much more memory than the file is long; the damaged file is kept.
"""

from __future__ import annotations

import argparse
import gzip
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import (
    small,
    states,
    write_legacy,
    write_onnx,
    write_safetensors,
    write_sharded,
    write_torch,
)
from fuzzing import is_refused, mutations
from keras_files import weights, write_archive, write_keras2, write_keras3
from other_files import (
    darknet_weights,
    write_caffe,
    write_darknet,
    write_mindspore,
    write_mxnet,
    write_old_caffe,
)
from pickle_files import (
    Network,
    write_export,
    write_joblib,
    write_module,
    write_older_baselines,
    write_pickle,
    write_script,
)
from torch import nn
from trainer_files import (
    copy_sharded,
    write_distributed,
    write_lightning,
    write_sb3,
    write_torch_shards,
)
from twins import Lstm, save_gguf, save_msgpack, save_orbax

from accweight_core.readers import Reader, reader_named

STATE = dict(small())
NET = {name: value for name, value in states(1)[0].items() if value.is_floating_point()}

ARRAYS = {"fc_weight": np.ones((3, 4), "f4"), "fc_bias": np.ones(3, "f4")}

DATA = Path(__file__).parent / "data"

SECONDS = 5
"""Time for one damaged file of some kilobytes."""

MEMORY_BYTES = 512 << 20
"""Address space that a process may take on top of what it has when the hunt begins."""

Target = tuple[Path, Path]
"""The file that is described, and the one that is damaged."""


def _alone(
    write: Callable[..., Any], name: str, *args: Any, **options: Any
) -> Callable[[Path], Target]:
    """Return what writes one file, which is both described and damaged."""

    def target(folder: Path) -> Target:
        path = folder / name
        write(path, *args, **options)
        return path, path

    return target


def _onnx_inline(path: Path) -> None:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        model = onnx.load(str(write_onnx(Path(folder) / "net.onnx", NET)))
    onnx.save(model, str(path))


def _onnx_of_every_kind(folder: Path) -> Target:
    from onnx_models import of_every_kind

    path = of_every_kind(folder)
    return path, path


def _safetensors_index(folder: Path) -> Target:
    path = write_sharded(folder / "model.safetensors.index.json", STATE)
    return path, path


def _safetensors_shard(folder: Path) -> Target:
    path = write_sharded(folder / "model.safetensors.index.json", STATE)
    return path, folder / "model-00001-of-00002.safetensors"


def _npz(path: Path, save: Callable[..., None]) -> None:
    arrays: dict[str, Any] = {"a/kernel": np.arange(30.0).reshape(5, 6), "step": np.int64(3)}
    save(path, **arrays)


def _npy(path: Path) -> None:
    np.save(path, np.asfortranarray(np.arange(30.0).reshape(5, 6)))


def _lightning(folder: Path) -> Target:
    path = write_lightning(folder / "a.ckpt", STATE)
    return path, path


def _legacy_lightning(folder: Path) -> Target:
    """Return a file whose pickle has no checksum, so that damage reaches the parser."""
    path = write_lightning(folder / "a.ckpt", STATE, is_zip=False)
    return path, path


def _index(folder: Path) -> Target:
    path = write_torch_shards(folder / "pytorch_model.bin.index.json", STATE)
    return path, path


def _shard(folder: Path) -> Target:
    path = write_torch_shards(folder / "pytorch_model.bin.index.json", STATE)
    return path, folder / "pytorch_model-00001-of-00002.bin"


def _metadata(folder: Path) -> Target:
    path = write_distributed(folder, STATE)
    return path, path


def _chunks(folder: Path) -> Target:
    path = write_distributed(folder, STATE)
    return path, folder / "__0_0.distcp"


def _sharded_metadata(folder: Path) -> Target:
    path = copy_sharded(folder)
    return path, path


def _sharded_chunks(folder: Path) -> Target:
    path = copy_sharded(folder)
    return path, folder / "__3_0.distcp"


def _stored_policy(folder: Path) -> Target:
    path = write_sb3(folder / "a.zip", STATE)
    return path, path


def _deflated_policy(folder: Path) -> Target:
    path = write_sb3(folder / "a.zip", STATE, zipfile.ZIP_DEFLATED)
    return path, path


def _ort(folder: Path) -> Target:
    path = Path(shutil.copy(DATA / "ort" / "with_optimizer", folder / "a.ckpt"))
    return path, path


def _tensorflow(folder: Path) -> Target:
    for file in (DATA / "tensorflow" / "keras3").glob("ckpt-1.*"):
        shutil.copy(file, folder)
    return folder / "ckpt-1.index", folder / "ckpt-1.index"


def _gguf(folder: Path) -> Target:
    save_gguf(Lstm(), folder, 1)
    path = folder / "checkpoint-1.gguf"
    return path, path


def _gguf_in_blocks(folder: Path) -> Target:
    from gguf import GGMLQuantizationType as Type
    from gguf import GGUFWriter
    from gguf.quants import quantize

    path = folder / "a.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_array("numbers", [1, 2, 3])
    matrix = np.arange(128, dtype=np.float32).reshape(4, 32)
    writer.add_tensor("blk.0.attn_q.weight", quantize(matrix, Type.Q4_0), raw_dtype=Type.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, path


def _msgpack(folder: Path) -> Target:
    save_msgpack(Lstm(), folder, 1)
    path = folder / "checkpoint_1"
    return path, path


def _orbax(folder: Path, pattern: str) -> Target:
    save_orbax(Lstm(), folder, 1)
    victims = sorted((folder / "1").glob(pattern))
    return folder / "1" / "_METADATA", max(victims, key=lambda file: file.stat().st_size)


def _objects(path: Path) -> None:
    layers = np.empty(2, dtype=object)
    layers[:] = [np.arange(30.0).reshape(5, 6), np.ones(6, np.float32)]
    np.save(path, layers, allow_pickle=True)


def _objects_packed(path: Path) -> None:
    np.savez_compressed(path, a=np.array({"w": np.ones((2, 3))}, dtype=object))


def _packed_pickle(path: Path) -> None:
    path.write_bytes(gzip.compress(pickle.dumps({"a": np.arange(30.0), "epoch": 3})))


TREE = {"a.kernel": np.arange(30.0).reshape(5, 6), "a.bias": np.ones(6, np.float32)}
OLDER = {"model/w:0": np.arange(30.0).reshape(5, 6)}


def _mat(path: Path, *, compressed: bool) -> None:
    from scipy.io import savemat

    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.arange(12.0).reshape(3, 4), np.arange(5.0)
    net = {"weights": cells, "name": "conv"}
    savemat(path, {"net": net, "W": np.eye(4), "epoch": 3}, do_compression=compressed)


def _darknet(folder: Path, victim: str) -> Target:
    path = write_darknet(folder / "net.weights", darknet_weights())
    return path, folder / victim


def _caffe_layers() -> list[Any]:
    return [("conv/1", "Convolution", [np.ones((2, 3, 1, 1), "f4"), np.ones(2, "f4")])]


TARGETS: dict[str, tuple[str, Callable[[Path], Target]]] = {
    "torch zip": ("torch", _alone(write_torch, "a.pt", STATE)),
    "torch legacy": ("torch", _alone(write_legacy, "a.pt", STATE)),
    "torch index": ("torch", _index),
    "torch shard": ("torch", _shard),
    "lightning": ("torch", _lightning),
    "lightning, legacy": ("torch", _legacy_lightning),
    "safetensors": ("safetensors", _alone(write_safetensors, "a.safetensors", STATE)),
    "safetensors index": ("safetensors", _safetensors_index),
    "safetensors shard": ("safetensors", _safetensors_shard),
    "onnx": ("onnx", _alone(_onnx_inline, "a.onnx")),
    "onnx, external data": ("onnx", _alone(write_onnx, "a.onnx", NET)),
    "onnx, every kind of tensor": ("onnx", _onnx_of_every_kind),
    "npy": ("numpy", _alone(_npy, "a.npy")),
    "npz": ("numpy", _alone(_npz, "a.npz", np.savez)),
    "npz, compressed": ("numpy", _alone(_npz, "a.npz", np.savez_compressed)),
    "keras archive": ("keras", _alone(write_archive, "a.keras", weights())),
    "keras weights": ("keras", _alone(write_keras3, "a.weights.h5", weights())),
    "keras 2": ("keras", _alone(write_keras2, "a.h5", weights())),
    "distributed metadata": ("torch_distributed", _metadata),
    "distributed chunks": ("torch_distributed", _chunks),
    "metadata of four ranks": ("torch_distributed", _sharded_metadata),
    "chunks of four ranks": ("torch_distributed", _sharded_chunks),
    "ort": ("ort", _ort),
    "gguf": ("gguf", _gguf),
    "gguf, in blocks": ("gguf", _gguf_in_blocks),
    "msgpack": ("flax", _msgpack),
    "orbax tree": ("orbax", partial(_orbax, pattern="_METADATA")),
    "orbax manifest": ("orbax", partial(_orbax, pattern="manifest.ocdbt")),
    "orbax values": ("orbax", partial(_orbax, pattern="ocdbt.process_*/d/*")),
    "tensorflow": ("tensorflow", _tensorflow),
    "whole module": ("torch", _alone(write_module, "a.pt", Network(), is_zip=False)),
    "torchscript": ("torch", _alone(write_script, "a.pt", nn.Sequential(nn.Linear(3, 2)))),
    "torch export": ("torch", _alone(write_export, "a.pt2", nn.Linear(3, 2), torch.ones(2, 3))),
    "pickle of arrays, protocol 0": ("pickle", _alone(write_pickle, "a.pkl", TREE, 0)),
    "pickle of arrays": ("pickle", _alone(write_pickle, "a.pkl", TREE, 5)),
    "pickle of tensors": ("pickle", _alone(write_pickle, "a.pkl", STATE)),
    "pickle, packed": ("pickle", _alone(_packed_pickle, "a.pkl.gz")),
    "joblib": ("pickle", _alone(write_joblib, "a.joblib", TREE)),
    "objects": ("numpy", _alone(_objects, "a.npy")),
    "objects, packed": ("numpy", _alone(_objects_packed, "a.npz")),
    "older policy": ("sb2", _alone(write_older_baselines, "a.zip", OLDER)),
    "older policy, packed": (
        "sb2",
        _alone(write_older_baselines, "a.zip", OLDER, zipfile.ZIP_DEFLATED),
    ),
    "mxnet": ("mxnet", _alone(write_mxnet, "a.params", ARRAYS)),
    "mxnet, first version": ("mxnet", _alone(write_mxnet, "a.params", ARRAYS, 0)),
    "caffe": ("caffe", _alone(write_caffe, "a.caffemodel", _caffe_layers())),
    "caffe, before 2015": ("caffe", _alone(write_old_caffe, "a.caffemodel", _caffe_layers())),
    "mindspore": ("mindspore", _alone(write_mindspore, "a.ckpt", ARRAYS, 20)),
    "darknet": ("darknet", partial(_darknet, victim="net.weights")),
    "darknet configuration": ("darknet", partial(_darknet, victim="net.cfg")),
    "matlab": ("matlab", _alone(partial(_mat, compressed=False), "a.mat")),
    "matlab, compressed": ("matlab", _alone(partial(_mat, compressed=True), "a.mat")),
    "policy": ("sb3", _stored_policy),
    "policy, compressed": ("sb3", _deflated_policy),
}
"""Per format: the reader, and what writes a small real file of it."""


def damage(reader: Reader, target: Target, cases: int, seed: int) -> Iterator[bool]:
    """Damage a file again and again; yield whether it was refused.

    Raises:
        AssertionError: If the reader does what it must not; the damaged file stays.
    """
    path, victim = target
    whole = victim.read_bytes()
    for damaged in mutations(whole, cases, seed):
        victim.write_bytes(damaged)
        yield is_refused(reader, path, names=str(path.parent))
    victim.write_bytes(whole)


# ---------------------------------------------------------------- by hand


class OverTimeError(BaseException):
    """A reader took too long; nothing that catches every `Exception` may take it for damage."""


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise OverTimeError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))


def _hunt(name: str, cases: int, seed: int) -> tuple[int, int]:
    """Return how many cases ran and how many were refused."""
    reader_name, write = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    target = write(folder)
    reader = reader_named(reader_name)
    assert not is_refused(reader, target[0]), f"{name}: the whole file is refused"
    run = refused = 0
    outcomes = damage(reader, target, cases, seed)
    while True:
        try:
            with _time_limit(SECONDS):
                refused += next(outcomes)
        except StopIteration:
            return run, refused
        except BaseException:
            print(f"{name}: case {run} of seed {seed} fails; it is {target[1]}", flush=True)
            raise
        run += 1


def main() -> None:
    """Damage files of every format, or of one, and say how many cases ran."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=2000, help="damaged copies of each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=TARGETS, help="only this one")
    options = parser.parse_args()
    names = [options.format] if options.format else list(TARGETS)
    for name in names:  # imports and caches come first, so that the limit is on the cases
        _hunt(name, 3, options.seed)
    _limit_memory()
    total = 0
    for name in names:
        began = time.perf_counter()
        run, refused = _hunt(name, options.cases, options.seed)
        total += run
        seconds = time.perf_counter() - began
        print(f"{name:24} {run:8} cases, {refused:8} refused, {seconds:6.1f} s", flush=True)
    print(f"{total} cases, none failed")


if __name__ == "__main__":
    sys.exit(main())
