"""`o2-lambda backend` as a process."""

from __future__ import annotations

import base64
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [str(Path(sys.executable).with_name("o2-lambda")), "backend"]


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start the command and read what it prints up to its last line; yields the settings it names."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    with process:
        assert process.stdout is not None
        settings = {}
        for line in process.stdout:
            if found := re.match(r"\s+export (\w+)='?([^'\n]*)", line):
                settings[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        try:
            yield process, settings
        finally:
            process.kill()


def test_prints_settings_that_work(tmp_path: Path) -> None:
    """The three variables name a backend that accepts them; Ctrl-C ends it with 0; the data is in the file."""
    database = tmp_path / "o2.duckdb"
    with running("--database", str(database), "--organization", "acme", "--user", "me", "--secret", "x y") as (
        process,
        settings,
    ):
        assert sorted(settings) == ["O2_AUTHORIZATION_HEADER", "O2_ENDPOINT", "O2_ORGANIZATION_ID"]
        assert settings["O2_ORGANIZATION_ID"] == "acme"
        assert base64.b64decode(settings["O2_AUTHORIZATION_HEADER"].removeprefix("Basic ")) == b"me:x y"
        connection = http.client.HTTPConnection(settings["O2_ENDPOINT"].removeprefix("http://"), timeout=10)
        headers = {"Authorization": settings["O2_AUTHORIZATION_HEADER"]}
        connection.request("POST", "/api/acme/default/_json", b'[{"a":1}]', headers)
        assert b'"successful":1' in connection.getresponse().read()
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    assert database.stat().st_size > 0


@pytest.mark.parametrize(("options", "status"), [(["--status", "503", "--retry-after", "3"], 503), ([], 200)])
def test_fault_options(options: list[str], status: int) -> None:
    """Faults given on the command line hold from the first request."""
    with running(*options) as (_, settings):
        connection = http.client.HTTPConnection(settings["O2_ENDPOINT"].removeprefix("http://"), timeout=10)
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert response.status == status
        assert response.getheader("Retry-After") == ("3" if status == 503 else None)
        connection.close()


def refuse(*options: str) -> str:
    completed = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False)
    assert completed.returncode != 0
    assert "Traceback" not in completed.stderr
    return completed.stderr


def test_taken_port_is_one_line() -> None:
    """Address, reason and remedy in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refuse("--port", str(port))
    assert message == f"Error: cannot listen on 127.0.0.1:{port} (Address already in use); choose another with --port\n"


def test_certificate_needs_its_key(tmp_path: Path) -> None:
    """One without the other is a usage error."""
    certificate = tmp_path / "c.pem"
    certificate.touch()
    assert "belong together" in refuse("--port", "0", "--certificate", str(certificate))
