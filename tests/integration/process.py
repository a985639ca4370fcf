"""The extension as a process: its launchers, its output line by line, its end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from o2_lambda.layer.source import EXTENSION_NAME, write_extension
from tests.integration.wire import PATIENCE_S, NeverHappenedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAIN = "main(sys.argv)\n"


def write_launcher(folder: Path, patch: str = "", *, preload: str = "") -> Path:
    """The extension from source; `patch` is Python that runs before it, to plant a defect or to shorten a long time.

    Without a patch it is the executable that O2_TEST_EXECUTABLE names, if it is set: the same tests for what ships.
    `preload` runs before the extension from source, too, and has no part in that choice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    built = os.environ.get("O2_TEST_EXECUTABLE")
    if built and not patch:
        return Path(shutil.copy(built, folder / EXTENSION_NAME))
    path = write_extension(folder)
    if preload or patch:
        text = path.read_text()
        assert text.endswith(_MAIN), "the launcher has changed: patches need another place"
        path.write_text(text.removesuffix(_MAIN) + preload + patch + "\n" + _MAIN)
    return path


@dataclass(frozen=True)
class Ending:
    """How the process ended."""

    status: int
    took_ms: float
    ledger: dict[str, Any]
    lines: list[str]

    @property
    def logs(self) -> dict[str, Any]:
        """The ledger's account of logs."""
        account: dict[str, Any] = self.ledger.get("logs", {})
        return account


class ExtensionProcess:
    """A running extension. Its lines are read by a thread, so that it never blocks on its output."""

    def __init__(self, executable: Path, environment: Mapping[str, str], patience_s: float = PATIENCE_S) -> None:
        self.lines: list[str] = []
        self.patience_s = patience_s
        self._changed = threading.Condition()
        self.popen = subprocess.Popen(
            [executable], env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.removesuffix("\n"))
                    self._changed.notify_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def matching(self, text: str) -> list[str]:
        """The lines so far that contain `text`."""
        return [line for line in list(self.lines) if text in line]

    def await_line(self, text: str) -> str:
        """Waits for a line that contains `text`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.matching(text), self.patience_s):
                raise NeverHappenedError(f"no line with {text!r} in {self.lines}")
        return self.matching(text)[0]

    def await_end(self) -> Ending:
        """Waits for the exit; returns how it was."""
        began_s = time.monotonic()
        try:
            status = self.popen.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            raise NeverHappenedError(f"the extension does not exit; it printed {self.lines}") from None
        took_ms = (time.monotonic() - began_s) * 1000
        self._reader.join()
        ledgers = [line for line in self.lines if line.startswith('{"ledger"')]
        ledger: dict[str, Any] = json.loads(ledgers[-1])["ledger"] if ledgers else {}
        return Ending(status, took_ms, ledger, self.lines)
