"""The executable: static, alone in its world, and the same extension as from source."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda import __version__
from o2_lambda.layer.build import project_root
from tests.packaging.conftest import elf

sys.path.insert(0, str(project_root() / "bench"))
from fakes import FakeLambda, Sink, batch, event

if TYPE_CHECKING:
    from tests.integration.rig import Arena
    from tests.packaging.conftest import BareRoot

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]


def output(*command: str | Path, **environment: str) -> str:
    """What a command prints, in an environment of its own."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_it_needs_no_loader_and_no_library(executable: Path) -> None:
    """It starts on any Linux, whatever libc the runtime has."""
    assert "INTERP" not in elf(executable, "-l")
    assert "NEEDED" not in elf(executable, "-d")


def test_it_carries_no_path_of_the_machine_that_built_it(executable: Path) -> None:
    """Two machines build the same bytes."""
    assert str(project_root()).encode() not in executable.read_bytes()


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_it_says_its_version(executable: Path, option: str) -> None:
    """The command line of a person works without any environment."""
    assert output(executable, option) == f"o2-lambda-extension {__version__}\n"


def test_it_explains_itself(executable: Path) -> None:
    """The help lists the settings."""
    assert "O2_ORGANIZATION_ID" in output(executable, "--help")


def test_the_health_check_climbs_its_ladder(executable: Path, arena: Arena) -> None:
    """Every step's module is in the executable; against a server that knows nothing it fails in words."""
    environment = {
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": "Basic YTpi",
        "O2_ENDPOINT": arena.sink().url,
    }
    done = subprocess.run(
        [executable, "--health-check"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Connection" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_nothing_of_the_machine_steers_its_interpreter(executable: Path, tmp_path: Path) -> None:
    """The customer's Python variables and files are for the customer's Python."""
    (tmp_path / "sitecustomize.py").write_text("print('intruder')\n")
    (tmp_path / "o2_lambda.py").write_text("print('intruder')\n")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "o2_lambda.py"),
        "PYTHONVERBOSE": "1",
        "PYTHONIOENCODING": "utf-16",
        "LD_LIBRARY_PATH": str(tmp_path),
        "LD_PRELOAD": str(tmp_path / "none.so"),
        "LANG": "xx_YY.UTF-16",
    }
    assert output(executable, "--version", **hostile) == f"o2-lambda-extension {__version__}\n"


def test_it_registers_under_its_file_name(executable: Path, arena: Arena, tmp_path: Path) -> None:
    """Any other name would make Lambda take it for an internal extension."""
    renamed = tmp_path / "some-other-name"
    shutil.copy(executable, renamed)
    rig = arena.rig(executable=renamed)
    (register,) = rig.lambda_.calls("register")
    assert register.headers["lambda-extension-name"] == "some-other-name"
    assert rig.end().status == 0


def test_lines_reach_the_backend(executable: Path) -> None:
    """From spawn to shutdown between a fake Lambda and a fake OpenObserve: nothing is lost."""
    sink, lambda_ = Sink(), FakeLambda()
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{lambda_.port}",
        "O2_ENDPOINT": f"http://127.0.0.1:{sink.port}",
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": "Basic YTpi",
        "O2_OTLP_PORT": "0",
    }
    with subprocess.Popen([executable], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert lambda_.next_called.acquire(timeout=30)
        lambda_.invoke("r-1", timeout_ms=30_000)
        lambda_.post(batch(event("platform.start", {"requestId": "r-1"})))
        lambda_.post(batch(*(event("function", f"line {number}\n") for number in range(500))))
        lambda_.post(batch(event("platform.runtimeDone", {"requestId": "r-1", "status": "success"})))
        assert lambda_.next_called.acquire(timeout=30)
        lambda_.shutdown()
        lines, _ = process.communicate(timeout=30)
    assert lambda_._post is not None
    lambda_._post.close()
    lambda_.close()
    sink.close()
    assert process.returncode == 0
    assert sink.lines == 502
    assert '"received":502,"delivered":502' in lines


def test_it_runs_where_there_is_nothing_else(bare_root: BareRoot, arena: Arena) -> None:
    """An empty root and an unprivileged user: no shell, no libc, no certificates, no /proc."""
    rig = arena.rig(executable=bare_root.executable)
    rig.invocation("from the void")
    assert rig.end().status == 0
    assert "from the void" in rig.sink.lines()


def test_a_bad_setting_ends_in_passive_mode(executable: Path, arena: Arena) -> None:
    """The function runs on; one line says why there is no telemetry."""
    rig = arena.rig(executable=executable, O2_ORGANIZATION_ID=None)
    rig.lambda_.invoke(rig.request_id, 10_000, "")
    rig.lambda_.await_next(2)
    ending = rig.end()
    assert ending.status == 0
    assert [line for line in ending.lines if "Configuration error: O2_ORGANIZATION_ID" in line]


def test_arm64_does_the_same(arm64_executable: Path, arena: Arena) -> None:
    """The other architecture, emulated where need be: command line and a whole life."""
    assert output(arm64_executable, "--version") == f"o2-lambda-extension {__version__}\n"
    rig = arena.rig(executable=arm64_executable)
    rig.invocation(*(f"line {number}" for number in range(100)))
    assert rig.end().status == 0
    assert len(rig.sink.lines()) == 100


def test_memory_is_never_written_to_a_core_file(executable: Path, arena: Arena) -> None:
    """It holds credentials."""
    rig = arena.rig(executable=executable)
    limits = Path(f"/proc/{rig.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
