"""Git repositories made with the git command, with checkpoints of a run in them."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


class Repository:
    """A repository with a working tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", "main")
        self._commits = 0

    def git(self, *arguments: str, **environment: str) -> str:
        """Run git, and return what it prints."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={**os.environ, **_ENVIRONMENT, **environment},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, bytes], *, second: int | None = None) -> str:
        """Write files, commit everything, and return the commit's id.

        Args:
            files: Content by name.
            second: Time of the commit; one second after the one before if None.
        """
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._commits += 1
        at = f"{1_700_000_000 + (self._commits if second is None else second)} +0000"
        self.git("add", "--all")
        times = {"GIT_COMMITTER_DATE": at, "GIT_AUTHOR_DATE": at}
        self.git("commit", "--quiet", "--allow-empty", "--message", "on", **times)
        return self.git("rev-parse", "HEAD")


def weights(moved: float, folder: Path) -> bytes:
    """Return the bytes of a NumPy archive with a layer of weights that have moved so far."""
    path = folder / "made.npz"
    folder.mkdir(parents=True, exist_ok=True)
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(path, **{"fc.weight": matrix + np.float32(moved), "fc.bias": np.zeros(3, np.float32)})
    return path.read_bytes()


def pointer_to(content: bytes) -> bytes:
    """Return the pointer that git holds in place of a large file."""
    oid = sha256(content).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    ).encode()


def keep_large_file(repository: Repository, content: bytes) -> Path:
    """Put a large file where git-lfs keeps it, and return its path."""
    oid = sha256(content).hexdigest()
    path = repository.folder / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
