"""The command line for a person: `--health-check`, `--help`, `--version`, and what is wrong with the rest."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda import __version__
from o2_lambda.backend import BackendConfig, BackendServer, CountingStore
from tests.integration.rig import CREDENTIALS
from tests.integration.secured import server_context
from tests.integration.wire import PATIENCE_S, free_port

if TYPE_CHECKING:
    from tests.integration.rig import Arena

OK, FAILED, USAGE = 0, 1, 2
SECRET = CREDENTIALS.partition(" ")[2]
STEP = re.compile(r"^([✓✗]) (\w[\w ]*?) +(\d+\.\d) ms  (.+)$", re.MULTILINE)


def run(arena: Arena, *arguments: str, **settings: str | None) -> subprocess.CompletedProcess[str]:
    """Runs the executable as a person does."""
    defaults = {"O2_ORGANIZATION_ID": "default", "O2_AUTHORIZATION_HEADER": CREDENTIALS}
    environment = {name: value for name, value in {**defaults, **settings}.items() if value is not None}
    result = subprocess.run(
        [arena.launcher(), *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert "Traceback" not in result.stdout + result.stderr
    assert SECRET not in result.stdout + result.stderr
    assert "\x1b" not in result.stdout, "no colours where nobody sees them"
    return result


def against(arena: Arena, backend: BackendServer, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the health check against a backend."""
    defaults = {"O2_ENDPOINT": backend.url, "O2_AUTHORIZATION_HEADER": backend.authorization_header}
    return run(arena, "--health-check", *arguments, **{**defaults, **settings})


def marks(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Step -> ✓ or ✗, in order."""
    return {name: mark for mark, name, _ms, _text in STEP.findall(result.stdout)}


def advice(result: subprocess.CompletedProcess[str]) -> str:
    """What the check says is to be done."""
    found = re.search(r"what to do: (.+)", result.stdout)
    assert found is not None, result.stdout
    return found[1]


@pytest.mark.parametrize("option", ["--health-check", "-h"])
def test_all_is_well(arena: Arena, backend: BackendServer, option: str) -> None:
    """Every step has a tick and its time, every setting is shown, exactly one marked row is written."""
    result = run(arena, option, O2_ENDPOINT=backend.url, O2_AUTHORIZATION_HEADER=backend.authorization_header)
    assert result.returncode == OK
    assert result.stderr == ""
    assert list(marks(result)) == ["Settings", "Connection", "Credentials", "Test entry"]
    assert set(marks(result).values()) == {"✓"}
    [row] = backend.rows("logs", "default")
    assert row["type"] == "health_check"
    assert "test entry" in str(row["message"])
    assert re.search(r"^ +O2_STREAM +default$", result.stdout, re.MULTILINE)
    assert re.search(r"^ +O2_AUTHORIZATION_HEADER +\*\*\*$", result.stdout, re.MULTILINE)
    assert f"o2-lambda-extension {__version__}" in result.stdout


def test_no_test_entry_writes_nothing(arena: Arena, backend: BackendServer) -> None:
    """--no-test-entry reads only: no POST reaches the server."""
    result = against(arena, backend, "--no-test-entry")
    assert result.returncode == OK
    assert list(marks(result)) == ["Settings", "Connection", "Credentials"]
    assert {request.method for request in backend.requests} == {"GET"}
    assert backend.streams() == []


def test_nothing_is_written_before_the_credentials_are_known_to_be_good(arena: Arena, backend: BackendServer) -> None:
    """A root user's POST would create a mistyped organization: reading comes first and ends it."""
    result = against(arena, backend, O2_ORGANIZATION_ID="mistyped")
    assert result.returncode == FAILED
    assert marks(result) == {"Settings": "✓", "Connection": "✓", "Credentials": "✗"}
    assert "O2_ORGANIZATION_ID" in advice(result)
    assert {request.method for request in backend.requests} == {"GET"}


def test_wrong_credentials(arena: Arena, backend: BackendServer) -> None:
    """401: the header is to be checked."""
    result = against(arena, backend, O2_AUTHORIZATION_HEADER="Basic d3Jvbmc6d3Jvbmc=")
    assert result.returncode == FAILED
    assert marks(result)["Credentials"] == "✗"
    assert "status 401" in result.stdout
    assert "O2_AUTHORIZATION_HEADER" in advice(result)


def test_a_user_without_the_organization(arena: Arena) -> None:
    """A user who is not root gets 401 for a foreign organization: both settings are named."""
    with BackendServer(BackendConfig(store=CountingStore(), is_root=False)) as backend:
        result = against(arena, backend, O2_ORGANIZATION_ID="foreign")
    assert result.returncode == FAILED
    assert "O2_ORGANIZATION_ID" in advice(result)


@pytest.mark.parametrize(("name", "value"), [("O2_ORGANIZATION_ID", None), ("O2_AUTHORIZATION_HEADER", None)])
def test_a_missing_setting(arena: Arena, name: str, value: None) -> None:
    """One line names it, exit status 2."""
    result = run(arena, "--health-check", **{name: value})
    assert result.returncode == USAGE
    assert result.stderr.startswith(f"Configuration error: {name} environment variable is required")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("O2_ENDPOINT", "api.example.com"),
        ("O2_ENDPOINT", "https://api.example.com:0"),
        ("O2_ENDPOINT", "https://api.example.com?x=1"),
        ("O2_AUTHORIZATION_HEADER", "bearer"),
        ("O2_BATCH_SIZE", "1e3"),
        ("O2_FLUSH_STRATEGY", "sometimes"),
        ("O2_PROXY", "socks5://proxy:1080"),
        ("O2_STREAM", "my stream"),
    ],
)
def test_a_malformed_setting(arena: Arena, name: str, value: str) -> None:
    """One line names it, exit status 2."""
    result = run(arena, "--health-check", **{name: value})
    assert result.returncode == USAGE
    assert result.stderr.startswith(f"Configuration error: {name} ")
    assert result.stderr.count("\n") == 1


def test_a_server_that_is_not_there(arena: Arena) -> None:
    """Refused: the endpoint and the network are to be checked."""
    result = run(arena, "--health-check", O2_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert result.returncode == FAILED
    assert marks(result) == {"Settings": "✓", "Connection": "✗"}
    assert "refused" in result.stdout
    assert "O2_ENDPOINT" in advice(result)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b.invalid", "x" * 64 + ".invalid"])
def test_a_name_that_does_not_resolve(arena: Arena, host: str) -> None:
    """DNS: the name and the way to DNS are to be checked; names that no DNS could hold are no different."""
    result = run(arena, "--health-check", O2_ENDPOINT=f"https://{host}")
    if result.returncode == USAGE:
        assert result.stderr.startswith("Configuration error: O2_ENDPOINT ")
        return
    assert result.returncode == FAILED
    assert marks(result)["Connection"] == "✗"
    assert "cannot be resolved" in result.stdout
    assert "host name" in advice(result)


def test_a_certificate_of_an_unknown_authority(arena: Arena) -> None:
    """TLS: O2_CA_CERT is what helps; the credentials were not sent."""
    sink = arena.sink(server_context(trustme.CA()))
    result = run(arena, "--health-check", O2_ENDPOINT=sink.url)
    assert result.returncode == FAILED
    assert "certificate" in result.stdout
    assert "O2_CA_CERT" in advice(result)
    assert not sink.probes
    assert not sink.requests


def test_a_server_that_is_no_openobserve(arena: Arena) -> None:
    """Another server answers 404 to /healthz: the base URL is wrong."""
    with BackendServer(BackendConfig(store=CountingStore(), base_path="/o2")) as backend:
        wrong = against(arena, backend, O2_ENDPOINT=f"http://127.0.0.1:{backend.port}")
        assert wrong.returncode == FAILED
        assert "answers 404" in wrong.stdout
        assert "base" in advice(wrong)
        assert against(arena, backend).returncode == OK, "with its base path all is well"


def test_a_server_that_does_not_speak_http(arena: Arena) -> None:
    """Some other protocol behind the port is told from a server that is down."""
    sink = arena.sink()
    greeting = b"220 mail.example ESMTP\r\n\r\n"
    sink.handle = lambda request, client: client.sendall(greeting)  # type: ignore[method-assign]
    result = run(arena, "--health-check", O2_ENDPOINT=sink.url)
    assert result.returncode == FAILED
    assert "not an HTTP answer" in result.stdout


@pytest.mark.xdist_group("serial")
def test_a_server_that_does_not_answer(arena: Arena, backend: BackendServer) -> None:
    """A black hole: the check ends by O2_REQUEST_TIMEOUT_MS and says that it timed out."""
    backend.faults.black_hole = True
    result = against(arena, backend, O2_REQUEST_TIMEOUT_MS="300")
    assert result.returncode == FAILED
    assert "timed out" in result.stdout


@pytest.mark.parametrize(
    ("status", "text"), [(400, "Stream name is empty"), (403, "no rights"), (503, "memtable full")]
)
def test_a_stream_that_cannot_be_written(arena: Arena, backend: BackendServer, status: int, text: str) -> None:
    """The last step fails alone, with the server's words."""
    backend.faults.fail_next(1, status, body=text.encode(), path="/_json")
    result = against(arena, backend)
    assert result.returncode == FAILED
    assert marks(result) == {"Settings": "✓", "Connection": "✓", "Credentials": "✓", "Test entry": "✗"}
    assert text in result.stdout
    assert f"status {status}" in result.stdout
    assert "O2_STREAM" in advice(result)


def test_an_entry_that_is_refused_inside_a_200(arena: Arena, backend: BackendServer) -> None:
    """HTTP 200 with a failure is a failure, under the server's reason."""
    backend.faults.reject_next(1, 1, "planned refusal", path="/_json")
    result = against(arena, backend)
    assert result.returncode == FAILED
    assert "planned refusal" in result.stdout


def test_a_missing_ca_file(arena: Arena) -> None:
    """The settings step tells it, before the network is touched."""
    result = run(arena, "--health-check", O2_CA_CERT="/nonexistent/ca.pem", O2_ENDPOINT="https://127.0.0.1:9")
    assert result.returncode in (FAILED, USAGE)
    assert "O2_CA_CERT '/nonexistent/ca.pem' cannot be read" in result.stdout + result.stderr


def test_secrets_are_masked(arena: Arena, backend: BackendServer) -> None:
    """Neither the credentials nor a proxy's password is shown, whatever fails; an echoing server does not help."""
    backend.faults.fail_next(1, 400, body=f"bad header {SECRET}".encode(), path="/_json")
    result = against(arena, backend, O2_AUTHORIZATION_HEADER=backend.authorization_header)
    assert result.returncode == FAILED
    proxied = run(arena, "--health-check", O2_PROXY="http://user:pass-word@127.0.0.1:9", O2_ENDPOINT="http://x.invalid")
    assert proxied.returncode == FAILED
    assert "pass-word" not in proxied.stdout + proxied.stderr
    refused = run(arena, "--health-check", O2_PROXY="htps://user:pass-word@127.0.0.1:9")
    assert refused.returncode == USAGE
    assert "pass-word" not in refused.stdout + refused.stderr


def test_colours_on_a_terminal(arena: Arena, backend: BackendServer) -> None:
    """On a terminal the ticks are green; elsewhere there is no escape sequence."""
    leader, follower = pty.openpty()
    environment = {
        "O2_ENDPOINT": backend.url,
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": backend.authorization_header,
    }
    command = [str(arena.launcher()), "-h", "--no-test-entry"]
    try:
        subprocess.run(command, env=environment, stdout=follower, timeout=PATIENCE_S, check=True)
        shown = os.read(leader, 65_536).decode()
    finally:
        os.close(leader)
        os.close(follower)
    assert shown.count("\x1b[32m✓\x1b[0m") == 3


def test_help(arena: Arena) -> None:
    """--help names every option and every setting, and needs no setting."""
    from o2_lambda.extension.settings import SETTINGS

    result = run(arena, "--help", O2_ORGANIZATION_ID=None, O2_AUTHORIZATION_HEADER=None)
    assert result.returncode == OK
    assert result.stderr == ""
    for option in ("-h", "--health-check", "--no-test-entry", "--help", "-v", "--version"):
        assert re.search(rf"(?<!\S){option}\b", result.stdout)
    for setting in SETTINGS:
        assert setting.name in result.stdout


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(arena: Arena, option: str) -> None:
    """The name and the version, one line."""
    result = run(arena, option)
    assert (result.returncode, result.stdout) == (OK, f"o2-lambda-extension {__version__}\n")


@pytest.mark.parametrize("arguments", [["--helth-check"], ["check"], ["-x"], ["-h", "--verbose"], ["--no-test-entry"]])
def test_what_it_does_not_know(arena: Arena, arguments: list[str]) -> None:
    """One line on standard error, exit status 2, nothing is done."""
    result = run(arena, *arguments)
    assert result.returncode == USAGE
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "--help" in result.stderr or "--health-check" in result.stderr


def test_the_check_works_with_any_locale(arena: Arena, backend: BackendServer) -> None:
    """In a bare C locale the ticks must not crash the check."""
    result = against(arena, backend, LC_ALL="C", LANG="C", PYTHONIOENCODING="ascii")
    assert result.returncode == OK
