"""Files that belong to a checkpoint, whatever they are called, are no checkpoints themselves.

Each format that keeps a part of a checkpoint in files beside it, under every name and in every
place that its writers may choose; and what trainers leave there, beside all of them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoints import states, write_onnx, write_safetensors, write_sharded, write_torch
from trainer_files import DATA, write_distributed, write_torch_shards

import accweight_core as aw
from accweight_core.errors import FormatError, MismatchError

SERIES = states(2)
Write = Callable[[Path], object]


def onnx_at(location: str) -> Write:
    """Return what writes models whose weights are in files of such a name."""

    def write(folder: Path) -> None:
        for step, state in enumerate(SERIES):
            with_data = onnx.load(write_onnx(folder / "whole.onnx", state))
            (folder / "whole.onnx").unlink()
            (folder / "whole.onnx.data").unlink()
            data = folder / location.format(step)
            data.parent.mkdir(parents=True, exist_ok=True)
            onnx.save_model(
                with_data,
                folder / f"net_{step}.onnx",
                save_as_external_data=True,
                location=location.format(step),
                size_threshold=0,
            )

    return write


def onnx_of_many(folder: Path) -> None:
    """Write models each of whose tensors has a file of its own, as torch.onnx did."""
    for step, state in enumerate(SERIES):
        home = folder / f"step_{step}"
        home.mkdir()
        with_data = onnx.load(write_onnx(home / "whole.onnx", state))
        for name in ("whole.onnx", "whole.onnx.data"):
            (home / name).unlink()
        onnx.save_model(
            with_data,
            home / "net.onnx",
            save_as_external_data=True,
            all_tensors_to_one_file=False,
            size_threshold=0,
        )


def one_onnx_above(folder: Path) -> None:
    """Write a single model above a folder with two files of its weights."""
    whole = write_onnx(folder / "whole.onnx", SERIES[0])
    model = onnx.load(whole)
    whole.unlink()
    (folder / "whole.onnx.data").unlink()
    (folder / "data_1").mkdir()
    onnx.external_data_helper.convert_model_to_external_data(model, all_tensors_to_one_file=False)
    for number, tensor in enumerate(model.graph.initializer):
        place = f"data_1/part{number}.bin"
        onnx.external_data_helper.set_external_data(tensor, place)
    onnx.save_model(model, folder / "net_0.onnx")


def safetensors_shards(folder: Path) -> None:
    for step, state in enumerate(SERIES):
        write_sharded(folder / f"step_{step}" / "model.safetensors.index.json", state)


def safetensors_shards_side_by_side(folder: Path) -> None:
    for step, state in enumerate(SERIES):
        write_sharded(folder / f"step_{step}.safetensors.index.json", state)


def safetensors_parts_of_other_names(folder: Path) -> None:
    """Write indexes whose parts are not numbered as shards usually are."""
    for step, state in enumerate(SERIES):
        names, places = list(state), {}
        for number in (0, 1):
            file = f"step_{step}_part{number}.safetensors"
            part = names[number::2]
            write_safetensors(folder / file, {name: state[name] for name in part})
            places |= dict.fromkeys(part, file)
        index = folder / f"step_{step}.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))


def torch_shards(folder: Path) -> None:
    for step, state in enumerate(SERIES):
        home = folder / f"checkpoint-{step}"
        home.mkdir()
        write_torch_shards(home / "pytorch_model.bin.index.json", state)


def distributed(folder: Path) -> None:
    for step, state in enumerate(SERIES):
        write_distributed(folder / f"step-{step}", state)


def tensorflow(folder: Path) -> None:
    shutil.copytree(DATA / "tensorflow" / "keras3", folder, dirs_exist_ok=True)


def ort(folder: Path) -> None:
    """Write checkpoints with the data of 2 GB that the library puts apart, as files with holes."""
    for step in range(2):
        path = Path(shutil.copy(DATA / "ort" / "external", folder / f"epoch_{step}"))
        with path.with_name(f"{path.name}.data").open("wb") as file:
            file.truncate(2_000_000_000)


def keras_shards(folder: Path) -> None:
    from keras_models import quiet  # before Keras itself, whose backend it chooses

    with quiet():
        import keras

        layers = [keras.Input((64,)), keras.layers.Dense(512), keras.layers.Dense(9)]
        model = keras.Sequential(layers)
        for step in range(2):
            model.save_weights(folder / f"net_{step}.weights.json", max_shard_size=0.0004)
            model.set_weights([weight + 1 for weight in model.get_weights()])


NAMES = (
    "net_{}.bin", "net_{}.onnx.data", "net_{}.onnx_data", "net_{}.data", "net_{}", "weights_{}.pt",
    "weights_{}.pth", "net_{}.npy", "net_{}.npz", "net_{}.zip", "net_{}.h5", "net_{}.ckpt",
    "net_{}.safetensors", "net_{}.gguf", "net_{}.msgpack", "net_{}.keras", "net_{}.json",
    "net_{}.index", "net_{}.metadata", "net_{}.weights.json", "part-0000{}-of-00002.bin",
    "data/net_{}.bin", "data_{}/w.bin",
    "data/{}/weights", "net {}.bin", "größe_{}.bin",
)  # fmt: skip
"""What external data may be called."""

WRITTEN: dict[str, Write] = {
    **{f"onnx, {name}": onnx_at(name) for name in NAMES},
    "onnx, a file per tensor": onnx_of_many,
    "onnx, one above its data": one_onnx_above,
    "shards of safetensors": safetensors_shards,
    "shards of safetensors, side by side": safetensors_shards_side_by_side,
    "parts of other names": safetensors_parts_of_other_names,
    "shards of torch": torch_shards,
    "torch.distributed": distributed,
    "tensorflow": tensorflow,
    "ort": ort,
    "shards of keras": keras_shards,
}


def beside_all(folder: Path) -> None:
    """Leave what trainers leave, in the folder and in every folder with checkpoints."""
    for home in {folder, *(f.parent for f in folder.rglob("*") if f.is_file())}:
        state = {"global_step": 3, "log_history": [], "best_model_checkpoint": None}
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"):
            write_torch(home / name, {"state": torch.ones(3)})
        write_torch(home / "training_args.bin", {"rate": torch.ones(1)})
        write_torch(home / "rng_state_0.pth", {"state": torch.ones(3)})
        texts = {
            "trainer_state.json": json.dumps(state),
            "config.json": '{"model_type": "net"}',
            "generation_config.json": "{}",
            "tokenizer.json": '{"version": "1.0"}',
            "special_tokens_map.json": "{}",
            "vocab.txt": "a\nb\n",
            "README.md": "# Net",
            "LICENSE": "Do as you like.",
            "checkpoint": 'model_checkpoint_path: "ckpt-2"\n',
            "train.log": "epoch 1\n",
            "events.out.tfevents.1700000000.host": "events",
            "metrics.csv": "step,loss\n1,2\n",
            ".gitattributes": "*.bin filter=lfs\n",
        }
        for name, text in texts.items():
            if not (home / name).exists():
                (home / name).write_text(text)
        np.savez(home / "evaluations.npz", timesteps=np.arange(3), results=np.ones(3))


@pytest.mark.parametrize("trainers", [False, True], ids=["alone", "beside what trainers leave"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_folder_of_checkpoints_with_companions_is_opened(
    tmp_path: Path, name: str, trainers: bool
) -> None:
    if "\\" in name or (sys.platform == "win32" and "ö" in name):
        pytest.skip("needs a system that has such names")
    WRITTEN[name](tmp_path)
    if trainers:
        beside_all(tmp_path)

    run = aw.open_run(tmp_path)

    expected = 1 if "one above" in name else len(SERIES)
    assert len(run.checkpoints) == expected
    assert not any("left out: it lies above" in note for note in run.notes)
    if expected > 1 and name != "ort":
        assert len(aw.analyze(run).ranking())


def test_what_belongs_to_nothing_is_still_refused(tmp_path: Path) -> None:
    onnx_at("net_{}.bin")(tmp_path)
    (tmp_path / "net_9.bin").write_bytes(b"no checkpoint, and nobody's part")

    with pytest.raises(FormatError, match=r"net_9\.bin: no reader recognises"):
        aw.open_run(tmp_path)


def test_weights_of_another_format_that_belong_to_nothing_are_still_told(tmp_path: Path) -> None:
    onnx_at("net_{}.bin")(tmp_path)
    write_torch(tmp_path / "net_9.bin", SERIES[0])

    with pytest.raises(MismatchError, match="files of several formats"):
        aw.open_run(tmp_path)
