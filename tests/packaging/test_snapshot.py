"""The snapshot flavour: what is in the image, what must never be, and that each process that resumes it is its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda import __version__
from o2_lambda.layer.build import project_root
from o2_lambda.layer.linking import GENERATOR, Builder, write_snapshot
from o2_lambda.layer.process import LayerError
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import TARGETS, Target, host
from tests.integration.secured import server_context
from tests.packaging.conftest import CACHE, skip_unavailable

sys.path.insert(0, str(project_root() / "bench"))
from fakes import FakeLambda

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.rig import Arena

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

STARTS = int(os.environ.get("O2_TEST_STARTS", "200"))
DRAWN = 100  # random numbers
CPUS = ("qemu64", "Nehalem", "Haswell", "max")  # without AES and AVX, without AVX, with AVX2, all that is emulated
STACK_ADDRESS = (
    "import posix; file = posix.open('/proc/self/maps', 0); maps = posix.read(file, 65536); posix.close(file); "
    "line = maps.partition(b'[stack]')[0].rpartition(b'\\n')[2]; "
    "stack = int(line.partition(b'-')[0], 16).to_bytes(8, 'little')"
)


def snapshot(target: Target) -> Path:
    """The snapshot executable of a target; its generator lies beside it."""
    with skip_unavailable():
        return Builder(Store(CACHE)).executable(target, "snapshot")


@pytest.fixture(scope="session")
def image() -> Path:
    """The snapshot executable for this machine."""
    return snapshot(host())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("arch", TARGETS)
def test_writing_it_again_gives_the_same_bytes(arch: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the writing process is in it: no address, id, time, name, environment or stream."""
    shipped = snapshot(TARGETS[arch])
    monkeypatch.setenv("SOMETHING", "else" * 1000)
    monkeypatch.chdir(tmp_path)
    generator = shutil.copy(shipped.parent / GENERATOR, tmp_path / "of-another-name")
    write_snapshot(TARGETS[arch], generator, tmp_path / "image", log=tmp_path / "log")
    assert sha256(tmp_path / "image") == sha256(shipped)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("import _ssl; _ssl.RAND_bytes(1)", "AWS-LC or zlib was used"),
        ("import _ssl; _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)", "AWS-LC or zlib was used"),
        ("import _thread, time; _thread.start_new_thread(time.sleep, (9,))", "there is another thread"),
        ("import posix; posix.open('/', 0)", "a file was opened or closed"),
        ("import _thread; me = _thread.get_ident().to_bytes(8, 'little')", "into a library's state"),
        (STACK_ADDRESS, "out of the image"),
        ("import nowhere", "ModuleNotFoundError"),
    ],
)
def test_what_must_not_be_in_it_fails_the_build(image: Path, statement: str, reason: str, tmp_path: Path) -> None:
    """A module that does at its import what belongs into a process is found out when the layer is built."""
    with pytest.raises(LayerError, match=reason):
        write_snapshot(host(), image.parent / GENERATOR, tmp_path / "image", log=tmp_path / "log", imports=statement)
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize(("identity", "holds"), [("is not", True), ("is", False)])
def test_keys_of_json_objects_are_gathered_nowhere(image: Path, identity: str, holds: bool, tmp_path: Path) -> None:
    """CPython's scanner notes keys in a dict, to make equal ones one object: under a known hash seed it must not."""
    scan = """one, other = loads('[{"the customer": 1}, {"the customer": 1}]')"""
    statement = (
        "from o2_lambda.extension.core.jsonscan import loads\n"
        f"{scan}\nassert one == other\nassert one[0][0] {identity} other[0][0]"
    )
    expected = contextlib.nullcontext() if holds else pytest.raises(LayerError, match="AssertionError")
    with expected:
        write_snapshot(host(), image.parent / GENERATOR, tmp_path / "image", log=tmp_path / "log", imports=statement)


def test_each_process_has_its_own_random_numbers(image: Path, arena: Arena) -> None:
    """Among them the secret path on which Lambda delivers events."""
    paths = set()
    for _ in range(2):
        rig = arena.rig(executable=image)
        paths.add(rig.lambda_.subscription["destination"]["URI"].rpartition("/")[2])
        rig.end()
    assert len(paths) == 2


def test_each_random_number_of_tls_is_drawn_from_the_kernel(image: Path, tmp_path: Path) -> None:
    """Many sandboxes start from one image of the memory, under SnapStart, and nothing in it tells them apart."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here: apt-get install strace")
    calls = tmp_path / "calls"
    draw = f"import _ssl\nfor _ in range({DRAWN}): _ssl.RAND_bytes(16)"
    watch = ["strace", "-f", "-e", "trace=getrandom", "-o", calls]
    generator = image.parent / GENERATOR
    subprocess.run([*watch, generator, generator, tmp_path / "image", draw], capture_output=True, check=False)
    assert calls.read_text().count("getrandom(") >= DRAWN


def test_its_environment_is_that_of_the_process(image: Path, arena: Arena) -> None:
    """More variables, and longer ones, than any machine has that builds it."""
    many = {f"SETTING_{number}": "x" * 100 for number in range(300)}
    rig = arena.rig(executable=image, AWS_REGION="mars-1", **many)
    rig.invocation("hello")
    assert rig.end().status == 0
    assert {record["region"] for record in rig.sink.records} == {"mars-1"}


def test_it_starts_every_time(image: Path) -> None:
    """Stack, mappings and environment lie elsewhere each time. O2_TEST_STARTS says how often."""
    for number in range(STARTS):
        lambda_ = FakeLambda()
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{lambda_.port}",
            "O2_OTLP_PORT": "0",
            "PADDING": "x" * (number * 61 % 8192),
        }
        with subprocess.Popen([image], env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert lambda_.next_called.acquire(timeout=30), number
            lambda_.shutdown()
            lines, _ = process.communicate(timeout=30)
        lambda_.close()
        assert process.returncode == 0, (number, lines)


@pytest.mark.parametrize("cpu", CPUS)
def test_it_runs_on_any_cpu(image: Path, arena: Arena, cpu: str, tmp_path: Path) -> None:
    """What the CPU can do is asked where it runs, not where the image was written: TLS has code for each."""
    emulator = shutil.which(f"qemu-{host().machine}-static")
    if emulator is None or host().arch != "x86_64":
        pytest.skip("no emulator of other x86_64 CPUs here")
    script = tmp_path / "o2-lambda-extension"
    script.write_text(f'#!/bin/sh\nexec "{emulator}" -cpu {cpu} "{image}" "$@"\n')
    script.chmod(0o755)
    done = subprocess.run([script, "--version"], env={}, capture_output=True, text=True, check=True, timeout=60)
    assert __version__ in done.stdout
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    sink = arena.sink(server_context(authority))
    rig = arena.rig(executable=script, sink=sink, O2_CA_CERT=str(tmp_path / "ca.pem"))
    rig.invocation("hello")
    assert rig.end().status == 0
    assert rig.sink.lines() == ["hello"]
