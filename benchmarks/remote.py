"""What distance costs: a run over HTTP from loopback, with answers that take their time.

``python benchmarks/remote.py [--megabytes 100] [--checkpoints 4] [--latencies 0 20 100]``

Writes checkpoints of torch and of safetensors with layers of all sizes, serves them with a pause
before every answer, and says for every latency how long describing and analysing took, how many
requests were made and how many bytes were sent. The numbers are checked against a local run.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import safetensors.torch
import torch

import accweight_core as aw

FORMS: dict[str, Callable[[dict[str, torch.Tensor], Path], Any]] = {
    "pt": torch.save,
    "safetensors": safetensors.torch.save_file,
}


class Traffic:
    """What a server has sent, and how long it waits before it answers."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.requests = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Count from here on."""
        self.requests = self.sent_bytes = 0

    def count(self, size_bytes: int) -> None:
        """Count an answer."""
        with self._lock:
            self.requests += 1
            self.sent_bytes += size_bytes


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Serve the files of a folder meanwhile, in ranges."""
    traffic = Traffic()

    class Handler(BaseHTTPRequestHandler):
        """Answers every request for a range."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Send a range."""
            time.sleep(traffic.latency_s)
            path = folder / unquote(self.path).strip("/")
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if span is None or not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            start, stop = int(span[1]), min(int(span[2]) + 1, size)
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(stop - start)
            traffic.count(len(body))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", traffic
    finally:
        server.shutdown()
        server.server_close()


def write_run(folder: Path, form: str, checkpoints: int, megabytes: float) -> list[str]:
    """Write checkpoints of two thirds large layers and many small ones; return their names."""
    torch.manual_seed(0)
    elements = int(megabytes * 250_000)
    rows = max(1, elements * 2 // 3 // 8 // 1024)
    state = {f"big{i}.weight": torch.randn(rows, 1024) for i in range(8)}
    small = max(1, elements // 3 // 4160)
    state |= {f"small{i}.weight": torch.randn(64, 64) for i in range(small)}
    state |= {f"small{i}.bias": torch.randn(64) for i in range(small)}
    names = [f"epoch_{epoch}.{form}" for epoch in range(checkpoints)]
    for epoch, name in enumerate(names):
        FORMS[form]({key: value + epoch / 8 for key, value in state.items()}, folder / name)
    return names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--checkpoints", type=int, default=4)
    parser.add_argument("--latencies", type=float, nargs="+", default=[0, 20, 100])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as (url, traffic):
        for form in FORMS:
            files = write_run(Path(name), form, options.checkpoints, options.megabytes)
            size = sum((Path(name) / file).stat().st_size for file in files)
            run = aw.open_run([Path(name) / file for file in files])
            aw.analyze(run)  # compiles
            begin = time.perf_counter()
            expected = aw.analyze(run).values
            local_s = time.perf_counter() - begin
            tensors = len(run.checkpoints[0].tensors)
            print(f"{form}: {len(files)} checkpoints, {size / 1e6:.0f} MB, {tensors} tensors each")
            print(f"  local                   analyze {local_s:6.2f} s")
            for latency in options.latencies:
                traffic.latency_s = latency / 1000
                measure(traffic, [f"{url}/{file}" for file in files], size, latency, expected)


def measure(
    traffic: Traffic, urls: list[str], size: int, latency: float, expected: np.ndarray
) -> None:
    """Describe and analyse one run, and print what it took."""
    traffic.forget()
    begin = time.perf_counter()
    run = aw.open_run(urls)
    described_s = time.perf_counter() - begin
    told = f"{described_s:6.2f} s {traffic.requests:4d} requests {traffic.sent_bytes / 1e6:5.2f} MB"
    traffic.forget()
    begin = time.perf_counter()
    values = aw.analyze(run).values
    seconds = time.perf_counter() - begin
    same = "same values" if np.array_equal(values, expected) else "OTHER VALUES"
    print(
        f"  {latency:4.0f} ms  describe {told}   analyze {seconds:6.2f} s "
        f"{traffic.requests:4d} requests {traffic.sent_bytes / size:6.2%} of the bytes, {same}"
    )


if __name__ == "__main__":
    main()
