"""Fourier transforms, windows, and mel scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.element_types import torch_type
from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.table import (
    Call,
    Node,
    Numbers,
    axis_in,
    operator,
    single,
)


@operator("DFT", newest=20)
def _dft(node: Node) -> Call:
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    fixed = node.get("axis", 1 if node.opset < 20 else -2)

    def transformed(
        x: Tensor, length: Tensor | Numbers | None = None, along: Tensor | Numbers | None = None
    ) -> Any:
        axis = axis_in(fixed if along is None else single(along), x.dim())
        count = None if length is None else single(length)
        is_real = x.shape[-1] == 1
        signal = x[..., 0] if is_real else torch.view_as_complex(x.contiguous())
        if onesided and inverse:
            return torch.fft.irfft(signal, count, axis).unsqueeze(-1)
        if onesided:
            return torch.view_as_real(torch.fft.rfft(signal, count, axis))
        function = torch.fft.ifft if inverse else torch.fft.fft
        return torch.view_as_real(function(signal, count, axis))

    return transformed


@operator("STFT", newest=17)
def _stft(node: Node) -> Call:
    onesided = bool(node.get("onesided", 1))

    def transformed(
        x: Tensor,
        step: Tensor | Numbers,
        window: Tensor | None = None,
        length: Tensor | Numbers | None = None,
    ) -> Tensor:
        own = x.shape[1] if window is None else window.shape[0]
        size = own if length is None else single(length)
        is_real = x.shape[-1] == 1
        signal = x[..., 0] if is_real else torch.view_as_complex(x.contiguous())
        frames = signal.unfold(1, size, single(step))
        frames = frames if window is None else frames * window
        if onesided and is_real:
            return torch.view_as_real(torch.fft.rfft(frames, dim=-1))
        return torch.view_as_real(torch.fft.fft(frames, dim=-1))

    return transformed


COSINES: dict[str, Sequence[float]] = {
    "HannWindow": (0.5, -0.5),
    "HammingWindow": (25 / 46, -21 / 46),
    "BlackmanWindow": (0.42, -0.5, 0.08),
}
"""Windows as sums of cosines: factors of cos(0), cos(t), cos(2t)."""


@operator("HannWindow", "HammingWindow", "BlackmanWindow", newest=17, on_cpu=True)
def _window(node: Node) -> Call:
    dtype, periodic = torch_type(node.get("output_datatype", 1)), node.get("periodic", 1)

    def made(size: Tensor | Numbers) -> Tensor:
        count = single(size)
        check_size(node.type, (count,))
        angle = torch.arange(count, dtype=torch.float64) * 2 * math.pi
        angle = angle / (count if periodic else max(count - 1, 1))
        terms = [a * torch.cos(k * angle) for k, a in enumerate(COSINES[node.type])]
        return torch.stack(terms).sum(0).to(dtype)

    return made


@operator("MelWeightMatrix", newest=17, on_cpu=True)
def _mel_weights(node: Node) -> Call:
    dtype = torch_type(node.get("output_datatype", 1))

    def matrix(*arguments: Tensor | Numbers) -> Any:
        bands, length, rate, lowest, highest = (single(a) for a in arguments)
        check_size(node.type, (length // 2 + 1, bands))
        low, high = (2595 * math.log10(1 + f / 700) for f in (lowest, highest))
        steps = torch.arange(bands + 2, dtype=torch.float64) * ((high - low) / (bands + 2)) + low
        bins = torch.floor((length + 1) * (700 * (10 ** (steps / 2595) - 1)) / rate)
        made = torch.zeros(length // 2 + 1, bands, dtype=torch.float64)
        places = torch.arange(length // 2 + 1, dtype=torch.float64)
        for band in range(bands):
            first, middle, last = bins[band : band + 3].tolist()
            if middle == first:
                made[int(middle), band] = 1
            else:
                rising = (places - first) / (middle - first)
                made[:, band] += torch.where((places >= first) & (places <= middle), rising, 0)
            if middle != last:
                falling = (last - places) / (last - middle)
                made[:, band] += torch.where((places >= middle) & (places < last), falling, 0) * (
                    places != middle
                )
        return made.to(dtype)

    return matrix
