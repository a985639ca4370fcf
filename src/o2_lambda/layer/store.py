"""The build's cache: every result lies under the hash of all that went into it, so that nothing stale is ever used."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEY_HEX = 16  # 64 bits: plenty for a handful of results


def digest(data: bytes) -> str:
    """The sha256 of the data, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Store:
    """Results of build steps in folders `<name>-<key>` below `root`; a folder exists only when it is complete."""

    def __init__(self, root: Path, made: Callable[[str, float], object] | None = None) -> None:
        """`made` is told each step that was not in the cache, and the seconds that it took."""
        self.root = root
        self._made = made

    def result(self, name: str, ingredients: object, make: Callable[[Path, Path], None]) -> Path:
        """The folder of a step's result, made at most once.

        `ingredients` is whatever decides about the result, as JSON values and paths of files whose content counts.
        `make(output, scratch)` fills `output`; neither folder's own path may end up in what it makes.
        """
        key = digest(json.dumps(ingredients, sort_keys=True, default=_content).encode())[:_KEY_HEX]
        final = self.root / f"{name}-{key}"
        if final.is_dir():
            return final
        with self.locked(name):
            if final.is_dir():
                return final
            with tempfile.TemporaryDirectory(dir=self.root, prefix=f"{name}.", ignore_cleanup_errors=True) as work:
                output, scratch = Path(work, "output"), Path(work, "scratch")
                output.mkdir()
                scratch.mkdir()
                began = time.monotonic()
                make(output, scratch)
                if self._made is not None:
                    self._made(name, time.monotonic() - began)
                for stale in self.root.glob(f"{name}-{'?' * _KEY_HEX}"):
                    shutil.rmtree(stale)
                output.rename(final)
        return final

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keeps other builds, in this process or another, from the thing of that name."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _content(value: object) -> str:
    if isinstance(value, Path):
        return digest(value.read_bytes())
    raise TypeError(f"{value!r} does not say what it contains")
