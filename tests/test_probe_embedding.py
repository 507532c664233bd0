"""The probes `embedding` and `neighbors`: no motion where there is none, classes that are there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Plain, write_states
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from torch import nn

import accweight_core as aw
from accweight_core.errors import ArgumentValueError, MissingLibraryError
from accweight_core.probes.layouts import jumps

Array = np.ndarray[Any, Any]


class Two(nn.Module):
    """Features, and something after them."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.features = nn.Linear(inputs, features, bias=False)
        self.end = nn.Linear(features, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two scores."""
        value: torch.Tensor = self.end(torch.relu(self.features(x)))
        return value


def probed(tmp_path: Path, maps: list[Array], data: Any, *probes: str, seed: int = 0) -> Any:
    """Probe a run whose features are the inputs times a matrix per step."""
    torch.manual_seed(0)
    module = Two(maps[0].shape[1], maps[0].shape[0])
    states = [
        {**module.state_dict(), "features.weight": torch.from_numpy(m.astype(np.float32))}
        for m in maps
    ]
    home = tmp_path / str(len(list(tmp_path.iterdir())))
    run = aw.open_run(write_states(home / "run", states))
    return aw.probe(run, Plain(module), data, list(probes), out=home / "run.accw", seed=seed)


def blobs(count: int = 160, classes: int = 8, width: int = 10) -> tuple[Array, Array]:
    """Return samples around a centre per class, far apart."""
    chance = np.random.default_rng(3)
    labels = np.arange(count) % classes
    centres = chance.standard_normal((classes, width)) * 4
    return (centres[labels] + chance.standard_normal((count, width))).astype(np.float32), labels


@pytest.fixture(scope="module")
def noisy() -> list[Array]:
    """The identity, with noise of 1e-3 that differs from step to step."""
    chance = np.random.default_rng(4)
    return [np.eye(10) + 1e-3 * chance.standard_normal((10, 10)) for _ in range(3)]


@pytest.mark.parametrize(
    "asked",
    ["embedding:layer=features", "embedding:layer=features,basis=joint",
     "embedding:layer=features,method=tsne,perplexity=15"],
)  # fmt: skip
def test_points_do_not_jump_where_the_data_do_not(
    tmp_path: Path, noisy: list[Array], asked: str
) -> None:
    x, y = blobs()

    found = probed(tmp_path, noisy, (x, y), asked)["embedding"]

    assert np.isnan(found.array("jump")[0]), "before the first step nothing moved"
    assert found.array("jump")[1:].max() < 0.2
    assert found.array("trustworthiness").min() > 0.85
    features = [x @ m.T for m in noisy[:2]]
    alone = [TSNE(random_state=i, init="random", max_iter=300).fit_transform(f) for i, f in
             enumerate(features)]  # fmt: skip
    assert jumps(np.stack(alone))[1] > 0.5, "t-SNE of single steps does jump"


def test_eight_blobs_have_pure_neighbours(tmp_path: Path, noisy: list[Array]) -> None:
    asked = "embedding:layer=features,method=tsne,perplexity=10"

    found = probed(tmp_path, noisy[:2], blobs(), asked)["embedding"]

    assert found.array("purity")[-1] > 0.99


def test_the_basis_is_that_of_the_last_step_or_of_all(tmp_path: Path) -> None:
    x, y = blobs()
    chance = np.random.default_rng(5)
    maps = [chance.standard_normal((12, 10)) for _ in range(3)]

    last = probed(tmp_path, maps, (x, y), "embedding:layer=features")["embedding"]
    joint = probed(tmp_path, maps, (x, y), "embedding:layer=features,basis=joint")["embedding"]

    features = [(x @ m.T.astype(np.float32)).astype(np.float64) for m in maps]
    expected = PCA(2, svd_solver="full").fit(features[-1])
    np.testing.assert_allclose(
        last.array("coordinates", 0), expected.transform(features[0]), atol=1e-3
    )
    together = PCA(2, svd_solver="full").fit(np.concatenate(features))
    np.testing.assert_allclose(
        joint.array("coordinates", 1), together.transform(features[1]), atol=1e-3
    )
    assert last.attributes["targets"] == y.tolist()
    for at, own in enumerate(features):
        expected = trustworthiness(own, last.array("coordinates", at), n_neighbors=12)
        assert last.array("trustworthiness", at) == pytest.approx(expected, abs=1e-3)


def test_tsne_goes_backwards_from_the_last_step(tmp_path: Path) -> None:
    first, other, last = np.random.default_rng(5).standard_normal((3, 10, 10))
    asked = "embedding:layer=features,method=tsne,perplexity=10"

    found = []
    for at, one in enumerate((first, other)):
        (tmp_path / str(at)).mkdir()
        found.append(probed(tmp_path / str(at), [one, last], blobs(80), asked)["embedding"])

    one, another = (result.array("coordinates") for result in found)
    np.testing.assert_array_equal(one[1], another[1], "what was before does not move the last one")
    assert not np.array_equal(one[0], another[0])


def test_each_class_has_its_share_of_the_points(tmp_path: Path, noisy: list[Array]) -> None:
    x, y = blobs()
    order = np.argsort(y, kind="stable")

    found = probed(tmp_path, noisy[:2], (x[order], y[order]), "embedding:points=24")["embedding"]

    assert np.bincount(found.attributes["targets"]).tolist() == [3] * 8
    again = probed(tmp_path, noisy[:2], (x[order], y[order]), "embedding:points=24", seed=1)
    assert again["embedding"].attributes["rows"] != found.attributes["rows"]


def test_neighbours_by_pixels_fail_where_those_by_features_do_not(tmp_path: Path) -> None:
    (signal, y), chance = blobs(width=4), np.random.default_rng(6)
    noise = chance.standard_normal((len(y), 200)).astype(np.float32) * 12
    x = np.concatenate([signal, noise], axis=1)
    nothing, right = np.zeros((4, 204)), np.eye(4, 204)
    nothing[:, 4:8] = np.eye(4)

    found = probed(tmp_path, [nothing, right], (x, y), "neighbors:layer=features")["neighbors"]

    table = found.table()
    assert table["pixel_agreement"].iloc[1] < 0.5
    assert table["agreement"].iloc[0] < 0.5
    assert table["agreement"].iloc[1] > 0.95
    nearest = found.array("nearest", 1).astype(int)
    distances = np.linalg.norm(signal[:, None] - signal[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(nearest[:, 0], distances.argmin(axis=1))


def test_umap_does_not_jump_either(tmp_path: Path, noisy: list[Array]) -> None:
    pytest.importorskip("umap")
    asked = "embedding:layer=features,method=umap,perplexity=20"

    found = probed(tmp_path, noisy[:2], blobs(), asked)["embedding"]

    assert found.array("jump")[1] < 0.2
    assert found.array("purity")[-1] > 0.99


def test_umap_takes_layers_of_one_feature(tmp_path: Path) -> None:
    pytest.importorskip("umap")
    asked = "embedding:layer=features,method=umap,perplexity=8"

    found = probed(tmp_path, [np.ones((1, 10)), 2 * np.ones((1, 10))], blobs(40), asked)

    assert np.isfinite(found["embedding"].array("coordinates")).all()


def test_a_missing_library_is_named(
    tmp_path: Path, noisy: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, module, name in (("umap", "umap", "umap-learn"), ("tsne", "openTSNE", "openTSNE")):
        monkeypatch.setitem(sys.modules, module, None)

        (tmp_path / method).mkdir()
        with pytest.raises(MissingLibraryError, match=rf"{name}.*pip install 'accweight\[{method}"):
            probed(tmp_path / method, noisy[:2], blobs(), f"embedding:method={method}")


def test_too_few_points_are_told(tmp_path: Path, noisy: list[Array]) -> None:
    x, y = blobs(40)

    with pytest.raises(ArgumentValueError, match="perplexity 30 is too large for 40 points"):
        probed(tmp_path, noisy[:2], (x, y), "embedding:method=tsne")
    with pytest.raises(ArgumentValueError, match="count is 40; 40 samples have 1 to 39"):
        probed(tmp_path, noisy[:2], (x, y), "neighbors:count=40")
