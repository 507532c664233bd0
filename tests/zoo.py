"""One small network of torch for each kind that is trained, to run by every engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Convolutions with batch norm, and both kinds of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8 * 2 * 2, 12)
        self.fc2 = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (samples, 1, 8, 8)."""
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        x = F.avg_pool2d(torch.relu(self.bn2(self.conv2(x))), 3, 1, 1)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """Two recurrent layers of a kind, and a linear one on the last time."""

    def __init__(self, kind: str, *, both_ways: bool = False) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(3, 4, 2, batch_first=True, bidirectional=both_ways)
        self.fc = nn.Linear(8 if both_ways else 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (samples, times, 3)."""
        return self.fc(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Torch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(3, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (samples, times, 3)."""
        return self.out(self.enc(self.inp(x)).mean(1))  # type: ignore[no-any-return]


class Generator(nn.Module):
    """Transposed convolutions, as in a GAN."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8 * 4)
        self.up1 = nn.ConvTranspose2d(8, 4, 4, 2, 1)
        self.bn = nn.BatchNorm2d(4)
        self.up2 = nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return pictures, (samples, 1, 8, 8), of (samples, 4)."""
        x = F.leaky_relu(self.bn(self.up1(self.fc(x).view(-1, 8, 2, 2))), 0.2)
        return torch.tanh(self.up2(x))


class UNet(nn.Module):
    """Group norm, PReLU, ELU, and resizing in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.act = nn.PReLU(4)
        self.down2 = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.up = nn.Conv2d(8, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return pictures of pictures, (samples, 1, 8, 8)."""
        a = self.act(self.norm(self.down1(x)))
        b = F.interpolate(F.elu(self.down2(a)), scale_factor=2.0, mode="bilinear")
        b = F.interpolate(F.interpolate(b, scale_factor=2.0), size=(8, 8), mode="bicubic")
        return self.out(F.elu(self.up(torch.cat([a, b], 1))))  # type: ignore[no-any-return]


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (ConvNet, (1, 8, 8)),
    "lstm": (lambda: Recurrent("LSTM"), (5, 3)),
    "bilstm": (lambda: Recurrent("LSTM", both_ways=True), (5, 3)),
    "gru": (lambda: Recurrent("GRU"), (5, 3)),
    "rnn": (lambda: Recurrent("RNN"), (5, 3)),
    "transformer": (Transformer, (5, 3)),
    "gan": (Generator, (4,)),
    "unet": (UNet, (1, 8, 8)),
}
"""Networks by name, and the shapes of their samples."""


def network(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights and statistics, and samples for it."""
    make, shape = ZOO[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make().train()
        with torch.no_grad():
            for _ in range(3):  # for running statistics other than those of the start
                net(2 * torch.randn(8, *shape) + 0.3)
        return net.eval(), torch.randn(3, *shape)


def export(net: nn.Module, samples: Tensor, path: Path, *, dynamo: bool) -> Path:
    """Write a network as ONNX, for any number of samples, by one of the exporters of torch."""
    options: dict[str, object] = {"dynamo": dynamo, "input_names": ["x"], "output_names": ["y"]}
    if dynamo:
        options |= {"dynamic_shapes": ({0: torch.export.Dim("n", min=2)},), "verbose": False}
        options |= {"external_data": False}
    else:
        options |= {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of their own future
        torch.onnx.export(net, (samples,), path, **options)  # type: ignore[arg-type]
    return path
