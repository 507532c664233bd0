"""What was measured on: facts of the machine, the disk and the libraries, for the JSON."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rounds import every_thread

LIBRARIES = ("numpy", "torch", "numba", "safetensors", "onnx", "h5py")
DISK_BYTES = 256 << 20


def facts(scratch: Path, disk_bytes: int = DISK_BYTES) -> dict[str, Any]:
    """Return what is known of this machine; a fact that it does not tell is left out."""
    found: dict[str, Any] = {
        "processor": _processor("model name") or platform.processor() or platform.machine(),
        "cores": every_thread(),
        "megahertz": _megahertz(),
        "caches": _caches(),
        "memory_gigabytes": _memory_gigabytes(),
        "system": f"{platform.system()} {platform.release()}",
        "virtual": "hypervisor" in (_processor("flags") or "").split() or None,
        "file_system": _file_system(scratch),
        "disk_write_gigabytes_per_s": _write_rate(scratch, disk_bytes),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "revision": _revision(),
    }
    return {name: value for name, value in found.items() if value is not None}


def in_words(machine: Mapping[str, Any]) -> str:
    """Return the facts that explain figures, in a line."""
    words = [f"{machine['processor']}", f"{machine['cores']} cores"]
    if "megahertz" in machine:
        words.append(f"{machine['megahertz'] / 1000:.1f} GHz")
    words += [f"{name} {size}" for name, size in machine.get("caches", {}).items()]
    if "memory_gigabytes" in machine:
        words.append(f"{machine['memory_gigabytes']:.0f} GB of memory")
    words += [machine["system"], machine.get("file_system", "")]
    words.append(f"written to disk at {machine['disk_write_gigabytes_per_s']:.1f} GB/s")
    if machine.get("virtual"):
        words.append("a virtual machine")
    words.append(f"load {machine['load']:.1f} before")
    return ", ".join(filter(None, words))


def _processor(key: str) -> str | None:
    """Return what Linux says of the first processor."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _megahertz() -> float | None:
    most = _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")).strip()
    if most:
        return float(most) / 1000
    now = _processor("cpu MHz")
    return float(now) if now else None


def _caches() -> dict[str, str] | None:
    """Return the size of each cache of the first processor."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_text(folder / name).strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found or None


def _memory_gigabytes() -> float | None:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 / 1e9
    return None


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system a folder lies on: the longest mount point above it."""
    best, place = ("", None), str(folder.resolve())
    for line in _text(Path("/proc/mounts")).splitlines():
        _, mount, kind, *_ = line.split()
        above = place == mount or place.startswith(mount.rstrip("/") + "/")
        if above and len(mount) >= len(best[0]):
            best = mount, kind
    return best[1]


def _write_rate(folder: Path, size_bytes: int) -> float:
    """Return how fast new bytes come to rest on the disk, in gigabytes per second."""
    path, part = folder / "rate.bin", os.urandom(1 << 20)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(max(1, size_bytes >> 20)):
            file.write(part)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    rate = path.stat().st_size / seconds / 1e9
    path.unlink()
    return rate


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the revision that was measured, marked where files have been changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
