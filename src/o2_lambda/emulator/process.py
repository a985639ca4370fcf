"""The only place that starts, stops, freezes and reads processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.emulator.framing import Frames, Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

READ_BYTES = 65_536


class Output:
    """One pipe from a process, cut into records."""

    def __init__(self, parser: Lines | Frames, emit: Callable[[str], None]) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self._parser = parser
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.read_fd, self.drain)

    def drain(self) -> None:
        """Read all there is now, so that what was written before a call is recorded before that call's effects."""
        while self.read_fd >= 0:
            try:
                data = os.read(self.read_fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            for record in self._parser.feed(data):
                self._emit(record)

    def close_writer(self) -> None:
        """Close this side's copy of the writing end once the child has its own."""
        os.close(self.write_fd)

    def close(self) -> None:
        """Stop reading; what is incomplete counts as a record."""
        if self.read_fd < 0:
            return
        self._loop.remove_reader(self.read_fd)
        os.close(self.read_fd)
        self.read_fd = -1
        for record in self._parser.close():
            self._emit(record)


class Process:
    """A process in a session and group of its own, with its output recorded."""

    def __init__(self, name: str, *, emit: Callable[[str], None], framed: bool = False) -> None:
        self.name = name
        self.started_ms = 0.0
        self.killed = False
        self.exited = asyncio.Event()
        self._outputs = [Output(Lines(), emit)]
        if framed:
            self._outputs.append(Output(Frames(), emit))
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def log_fd(self) -> int | None:
        """The descriptor for framed logs in the child, if it was asked for."""
        return self._outputs[1].write_fd if len(self._outputs) > 1 else None

    @property
    def pid(self) -> int:
        """The process id, which is also its group's; 0 when it never started."""
        return self._process.pid if self._process else 0

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._process.returncode if self._process else None

    async def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        before_exec: Callable[[], object] | None,
        on_exit: Callable[[Process], None],
    ) -> None:
        """Start `command`; raises OSError when it cannot be executed."""
        stdout = self._outputs[0].write_fd
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stdout,
                pass_fds=() if self.log_fd is None else (self.log_fd,),
                start_new_session=True,
                preexec_fn=before_exec,
            )
        except BaseException:  # a cancelled start has been killed by asyncio
            self.close()
            self.exited.set()
            raise
        finally:
            for output in self._outputs:
                output.close_writer()
        self._watch = asyncio.create_task(self._watch_exit(self._process, on_exit))

    async def _watch_exit(self, process: asyncio.subprocess.Process, on_exit: Callable[[Process], None]) -> None:
        await process.wait()
        self.signal(signal.SIGKILL)  # what it left behind in its group
        self.drain()
        self.close()
        self.exited.set()
        on_exit(self)

    def drain(self) -> None:
        """Record everything written so far."""
        for output in self._outputs:
            output.drain()

    def close(self) -> None:
        """Close the pipes."""
        for output in self._outputs:
            output.close()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; a group that is gone is no error."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the group and remember that it was necessary."""
        if not self.exited.is_set():
            self.killed = True
            self.signal(signal.SIGKILL)

    async def wait(self, limit_ms: float) -> bool:
        """Wait for the exit; return whether it came within `limit_ms`."""
        try:
            async with asyncio.timeout(max(0.0, limit_ms) / 1000):
                await self.exited.wait()
        except TimeoutError:
            return False
        return True

    def peak_memory_kb(self) -> int:
        """Return the peak resident memory of the group's leader, 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        return 0
