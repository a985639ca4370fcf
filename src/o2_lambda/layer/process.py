"""Running the build's tools: quietly, at low priority, with a log that the error names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NICENESS = 10  # a build leaves the machine usable
JOBS = 2  # tools at a time, in each step that takes several
_TAIL_LINES = 15
# What a make around us, or a user's shell, says to its own compilers.
_OUTSIDE = {
    *("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES", "DESTDIR"),
    *("CC", "CFLAGS", "CPPFLAGS", "CXX", "CXXFLAGS", "LDFLAGS", "LIBS", "CPATH", "LIBRARY_PATH", "AR", "RANLIB"),
}
_LINE_LENGTH_MAX = 300
_PACKAGES = {"mvn": "maven", "java": "default-jre-headless"}  # of Debian, where they are not named like the tool
_interrupted = threading.Event()  # Ctrl-C has ended a tool, which every other one that runs has got as well


class LayerError(Exception):
    """The layer cannot be built; the text names what is missing or failed, and the next step."""


class UnavailableError(LayerError):
    """The layer cannot be built on this machine: a tool or an input cannot be had here."""


def run(
    command: Sequence[str | Path], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Runs a tool, its output appended to `log`. `env` is added to this process's own. Raises LayerError.

    After Ctrl-C no thread starts another one.
    """
    if _interrupted.is_set():
        raise LayerError("interrupted")
    words = [str(word) for word in command]
    with log.open("ab") as sink:
        sink.write(f"$ {' '.join(words)}\n".encode())
        sink.flush()
        try:
            done = subprocess.run(  # noqa: S603 - commands of this package only
                ["nice", "-n", str(NICENESS), *words],  # noqa: S607 - tools are found through PATH
                cwd=cwd,
                env=_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            raise LayerError(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode == -signal.SIGINT:
        _interrupted.set()
    if done.returncode != 0:
        tail = "\n".join(
            line[:_LINE_LENGTH_MAX] for line in log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        )
        raise LayerError(f"{Path(words[0]).name} failed with status {done.returncode}; the end of {log}:\n{tail}")


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """Our own environment without what would change a build from outside, and `env`."""
    return {name: value for name, value in os.environ.items() if name not in _OUTSIDE} | dict(env or {})


def read(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """A tool's standard output. Raises LayerError where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603 - as above
            words,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise LayerError(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise LayerError(f"{' '.join(words[:3])} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def require(*tools: str) -> None:
    """Raises LayerError naming the tools that this machine does not have."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(_PACKAGES.get(tool, tool) for tool in missing)
        raise UnavailableError(
            f"the layer build needs {', '.join(missing)}: install it (Debian: apt-get install {packages})"
        )
