"""Database servers for the functions to call, each from the system's own package, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_LIMIT_S = 60
POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def program(name: str, *, folders: list[Path] | None = None) -> str:
    """The path of a server's program; skips the test where there is none."""
    path = shutil.which(name, path=":".join([*map(str, folders or []), os.environ["PATH"], "/usr/sbin"]))
    if path is None:
        pytest.skip(f"no {name} here")
    return path


@contextmanager
def redis_server() -> Iterator[int]:
    """The port of a server that keeps everything in memory."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _folder(None) as folder, _running([program("redis-server"), *options], port, folder, user=None):
        yield port


@contextmanager
def postgresql_server() -> Iterator[int]:
    """The port of a server with a superuser `shop` that needs no password."""
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    initdb, postgres = (program(name, folders=POSTGRESQL[-1:]) for name in ("initdb", "postgres"))
    port = free_port()
    with _folder(user) as folder:
        options = ["-D", "data", "-A", "trust", "-U", "shop", "--no-sync", "--no-instructions", "-E", "UTF8"]
        subprocess.run(
            [initdb, *options], cwd=folder, user=user, check=True, capture_output=True, timeout=START_LIMIT_S
        )
        command = [postgres, "-D", "data", "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        with _running(command, port, folder, user=user):
            yield port


@contextmanager
def mysql_server() -> Iterator[int]:
    """The port of a MariaDB server without passwords, with a database `shop`."""
    user = "mysql" if os.geteuid() == 0 else None
    server = program("mariadbd")
    port = free_port()
    with _folder(user) as folder:
        (folder / "data" / "shop").mkdir(parents=True)  # a database is a folder
        for path in (folder / "data", folder / "data" / "shop"):
            if user is not None:
                shutil.chown(path, user)
        options = ["--no-defaults", f"--datadir={folder}/data", f"--port={port}", "--bind-address=127.0.0.1"]
        options += [f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-grant-tables"]
        with _running([server, *options, "--innodb-log-file-size=4M"], port, folder, user=user):
            yield port


@contextmanager
def mongodb_server(python: str, script: Path, environment: dict[str, str]) -> Iterator[int]:
    """The port of a stand-in for MongoDB."""
    with subprocess.Popen([python, script], stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    # Not below pytest's own folder, which no other user may enter; and short, for the sockets in it.
    path = Path(tempfile.mkdtemp(prefix="o2-server-"))
    try:
        if user is not None:
            shutil.chown(path, user)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _running(command: list[str], port: int, folder: Path, *, user: str | None) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as sink:
        process: subprocess.Popen[Any] = subprocess.Popen(command, cwd=folder, user=user, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()  # there is nothing to keep
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
