"""What files are by their endings, for folders in which nothing can be read.

"No checkpoints found" does not help someone whose folder is full of weights in another form. The
message says which endings there are, what they are, and the way from each to a file that can be
read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

FLAT: Final = (
    "flat files without names and shapes",
    "numpy.savez('step_N.npz', NAME=numpy.fromfile(FILE, 'float32').reshape(SHAPE), ...)",
)
TENSORFLOW: Final = "save checkpoints, tf.train.Checkpoint(model=model).save(PREFIX)"
ONNX: Final = "convert to ONNX"

KINDS: Final[dict[str, tuple[str, str]]] = {
    ".pb": ("graphs of TensorFlow; a SavedModel has its weights in variables/", TENSORFLOW),
    ".pbtxt": ("definitions of networks or graphs, without weights", ""),
    ".meta": ("graphs of TensorFlow 1; the weights are in .index and .data files", TENSORFLOW),
    ".tflite": ("TensorFlow Lite models", "save the weights before converting to TensorFlow Lite"),
    ".mlmodel": ("Core ML models", "save the weights before converting to Core ML"),
    ".mlpackage": ("Core ML models", "save the weights before converting to Core ML"),
    ".espresso.weights": ("compiled Core ML weights", "save the weights before converting"),
    ".engine": ("compiled TensorRT engines", "take the model that they were built from"),
    ".plan": ("compiled TensorRT engines", "take the model that they were built from"),
    ".trt": ("compiled TensorRT engines", "take the model that they were built from"),
    ".xml": ("descriptions, of OpenVINO models among others", "take the model it was made from"),
    ".param": ("definitions of ncnn networks; the weights are in .bin files", ONNX),
    ".mnn": ("MNN models", "take the model that they were converted from"),
    ".rknn": ("compiled models for Rockchip devices", "take the model they were converted from"),
    ".dlc": ("compiled models for Snapdragon devices", "take the model they were converted from"),
    ".hef": ("compiled models for Hailo devices", "take the model that they were compiled from"),
    ".ggml": ("GGML files, before GGUF", "convert to GGUF with llama.cpp"),
    ".rds": ("R objects", "keras::save_model_weights_hdf5, or torch_save of torch for R"),
    ".rdata": ("R workspaces", "keras::save_model_weights_hdf5, or torch_save of torch for R"),
    ".rda": ("R workspaces", "keras::save_model_weights_hdf5, or torch_save of torch for R"),
    ".bson": (
        "Julia objects, of Flux among others",
        'NPZ.npzwrite("step_N.npz", Dict(NAME => ARRAY))',
    ),
    ".jld2": (
        "Julia objects, of Flux among others",
        'NPZ.npzwrite("step_N.npz", Dict(NAME => ARRAY))',
    ),
    ".jld": ("Julia objects", 'NPZ.npzwrite("step_N.npz", Dict(NAME => ARRAY))'),
    ".xgb": ("XGBoost models: trees, not weights", ""),
    ".ubj": ("XGBoost models: trees, not weights", ""),
    ".cbm": ("CatBoost models: trees, not weights", ""),
    ".lgb": ("LightGBM models: trees, not weights", ""),
    ".pmml": ("PMML models", "export the weights from the program that made them"),
    ".zip": ("archives", "unpack them"),
    ".tar": ("archives", "unpack them"),
    ".tar.gz": ("archives", "unpack them"),
    ".tgz": ("archives", "unpack them"),
    ".tar.zst": ("archives", "unpack them"),
    ".7z": ("archives", "unpack them"),
    ".gz": ("compressed files", "unpack them"),
    ".xz": ("compressed files", "unpack them"),
    ".zst": ("compressed files", "unpack them"),
    ".nemo": ("archives of NeMo", "unpack them with tar; model_weights.ckpt is inside"),
    ".mar": ("archives of TorchServe", "unpack them as zip files"),
    ".solverstate": ("states of Caffe's solver: training state; the weights are .caffemodel", ""),
    ".states": ("states of MXNet's trainer: training state; the weights are .params", ""),
    ".pdopt": ("optimizer states of PaddlePaddle; the weights are .pdparams", ""),
    ".pdmodel": ("graphs of PaddlePaddle; the weights are .pdparams", ""),
    ".pdiparams": (
        "weights of PaddlePaddle without names",
        "paddle.save(layer.state_dict(), FILE)",
    ),
    ".prototxt": ("definitions of Caffe networks, without weights; those are .caffemodel", ""),
    ".cfg": ("configurations; the weights of Darknet are .weights", ""),
    ".dnn": ("CNTK models", ONNX),
    ".cntk": ("CNTK models", ONNX),
    ".t7": (
        "objects of Torch7, in Lua",
        "load with torchfile in Python, and torch.save a state_dict",
    ),
    ".wts": ("weights as text for TensorRT", "take the model that they were written from"),
    ".csv": ("tables, of figures rather than weights", ""),
    ".tsv": ("tables, of figures rather than weights", ""),
    ".parquet": ("tables or data sets", ""),
    ".arrow": ("tables or data sets", ""),
    ".tfrecord": ("data sets of TensorFlow", ""),
    ".lmdb": ("data sets", ""),
    ".mdb": ("data sets", ""),
    ".json": ("settings, figures or trees", ""),
    ".jsonl": ("settings or figures", ""),
    ".yaml": ("settings", ""),
    ".yml": ("settings", ""),
    ".toml": ("settings", ""),
    ".log": ("logs", ""),
    ".txt": ("text", ""),
    ".md": ("text", ""),
    ".py": ("programs", ""),
    ".ipynb": ("notebooks", ""),
    ".png": ("pictures", ""),
    ".jpg": ("pictures", ""),
    **{f".{ending}": FLAT for ending in ("bin", "dat", "raw", "f32", "f64", "f16", "bf16")},
}
"""What files of an ending are, and the way to weights that can be read; '' if there is none."""

EVENTS: Final = "TensorBoard events"
NAMED: Final = (
    (re.compile(r"events\.out\.tfevents\."), f"{EVENTS}: figures, not weights"),
    (re.compile(r"\.data-\d{5}-of-\d{5}$"), "values of TensorFlow whose .index is missing"),
    (re.compile(r"-\d{5}-of-\d{5}\.\w+$"), "parts of a checkpoint whose index is missing"),
)
"""What files are whose names tell more than their endings."""

MOST_LISTED: Final = 6


def described_endings(names: Iterable[str]) -> str:
    """Return which endings files have and what those are, the most telling first.

    Returns:
        ``3 .pb (graphs of TensorFlow): save checkpoints ...; 2 .tflite (...)``; '' without names.
    """
    counts: Counter[tuple[str, str, str]] = Counter(_kind(name) for name in names)
    order = sorted(counts, key=lambda kind: (not kind[2], not kind[1], -counts[kind], kind))
    shown = [_phrase(counts[kind], *kind) for kind in order[:MOST_LISTED]]
    others = sum(counts[kind] for kind in order[MOST_LISTED:])
    return "; ".join(shown) + (f"; and {others} other files" if others else "")


def what_ending_says(name: str) -> str:
    """Return what a file usually is by its name, and the way from it; '' if that says nothing."""
    ending, what, way = _kind(name)
    whose = f"*{ending} files are usually" if ending else "by its name it is one of"
    return f"{whose} {what}{f': {way}' if way else ''}" if what else ""


def _kind(name: str) -> tuple[str, str, str]:
    """Return the ending of a name, what it is, and the way to weights."""
    name = name.rsplit("/", 1)[-1].lower()
    for pattern, what in NAMED:
        if pattern.search(name):
            return PurePath(name).suffix if what.startswith("parts") else "", what, ""
    suffixes = PurePath(name).suffixes
    for length in (2, 1):
        ending = "".join(suffixes[-length:])
        if len(suffixes) >= length and ending in KINDS:
            return ending, *KINDS[ending]
    return PurePath(name).suffix, "", ""


def _phrase(count: int, ending: str, what: str, way: str) -> str:
    files = f"{count} {ending or ('file' + 's' * (count > 1))}"
    if not ending and not what:
        files += " without an ending"
    return files + (f" ({what})" if what else "") + (f": {way}" if way else "")
