"""The executable within what Lambda allows: an unprivileged user, a read-only root, few descriptors, little CPU."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer.build import project_root
from o2_lambda.layer.names import EXECUTABLE
from tests.integration.rig import with_otlp
from tests.integration.stub_lambda import event
from tests.integration.wire import PATIENCE_S, NeverHappenedError

sys.path.insert(0, str(project_root() / "bench"))
from machine import SHARES, Quota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rig import Arena
    from tests.packaging.conftest import BareRoot

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

DESCRIPTORS_MAX = 1024


@pytest.fixture
def trickle() -> Iterator[Quota]:
    """The share of a CPU that Lambda's smallest functions have."""
    try:
        quota = Quota(SHARES["128 MB"])
    except OSError as reason:
        pytest.skip(f"no cgroup with a CPU quota can be made here: {reason}")
    yield quota
    quota.close()


def test_the_sandbox_is_as_bare_as_it_claims(bare_root: BareRoot, arena: Arena) -> None:
    """What the tests in it prove rests on this: user, root, descriptors, nothing to write to but /tmp."""
    rig = arena.rig(executable=bare_root.executable)
    process = Path(f"/proc/{rig.process.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    limits = (process / "limits").read_text()
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    options = {fields[4]: fields[5].split(",") for fields in mounts}
    if status["Uid"].split()[0] != "0":  # made by root
        assert (status["Uid"], status["Gid"]) == ("\t".join(["993"] * 4), "\t".join(["990"] * 4))
        assert status["Groups"].split() == ["990"]
        assert int(status["CapEff"], 16) == 0
    assert f"Max open files            {DESCRIPTORS_MAX} " in limits
    assert "ro" in options["/"]
    assert "rw" in options["/tmp"]
    assert {path.name for path in (process / "root").iterdir()} == {"etc", "opt", "proc", "tmp"}
    rig.end()


def test_a_read_only_opt_is_enough(bare_root: BareRoot, arena: Arena) -> None:
    """Lambda mounts layers so: nothing is written beside the executable, from the start to the end."""
    before = {path: path.stat() for path in (bare_root.folder / "opt").rglob("*")}
    rig = arena.rig(executable=bare_root.executable)
    assert os.statvfs(f"/proc/{rig.process.pid}/root/opt").f_flag & os.ST_RDONLY
    rig.invocation("read only")
    ending = rig.end()
    assert ending.status == 0
    assert rig.sink.lines() == ["read only"]
    after = {path: path.stat() for path in (bare_root.folder / "opt").rglob("*")}
    assert {path: status.st_mtime_ns for path, status in after.items()} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


def test_more_connections_than_descriptors_cost_nothing(bare_root: BareRoot, arena: Arena) -> None:
    """A function that opens connections without end starves itself, not its telemetry."""
    rig = arena.rig(executable=bare_root.executable, **with_otlp())
    clients = []
    for _ in range(DESCRIPTORS_MAX + 100):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", rig.otlp_port))
        clients.append(client)
    rig.invocation("still here")
    open_files = len(list(Path(f"/proc/{rig.process.pid}/fd").iterdir()))
    for client in clients:
        client.close()
    rig.invocation("and afterwards")
    ending = rig.end()
    assert open_files < DESCRIPTORS_MAX
    assert ending.status == 0
    assert rig.sink.lines() == ["still here", "and afterwards"]


def throttled(executable: Path, trickle: Quota) -> Path:
    """The executable, which has no more than this quota from its start."""
    path = executable.parent / "throttled" / EXECUTABLE
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho $$ >"{trickle.members}"\nexec "{executable}"\n')
    path.chmod(0o755)
    return path


def test_a_trickle_of_cpu_is_enough(bare_root: BareRoot, arena: Arena, trickle: Quota) -> None:
    """With 0.07 CPU it starts, delivers what each invocation logs, and ends before the deadline of the shutdown."""
    rig = arena.rig(executable=throttled(bare_root.executable, trickle))
    for number in range(5):
        rig.invocation(*(f"line {number}.{each}" for each in range(100)))
    ending = rig.end()
    assert ending.status == 0
    assert len(rig.sink.lines()) == 500
    assert trickle.throttled_periods() > 0  # or nothing was shown


def test_a_trickle_of_cpu_and_a_flood_of_lines_delay_no_exit(bare_root: BareRoot, arena: Arena, trickle: Quota) -> None:
    """Each payload takes a good part of a second then, beside a backlog: the ledger is printed before the kill."""
    rig = arena.rig(
        executable=throttled(bare_root.executable, trickle),
        O2_BATCH_SIZE="10",
        O2_FLUSH_BUDGET_MS="0",
    )
    for _ in range(3):
        rig.invocation(*(f"line {number} {'x' * 100}" for number in range(1000)))
    over, flows = threading.Event(), threading.Event()

    def flood() -> None:
        for batch in itertools.takewhile(lambda _: not over.wait(0.02), itertools.count()):
            lines = [event("function", f"late {batch} {number} {'x' * 100}") for number in range(1000)]
            with contextlib.suppress(NeverHappenedError, ValueError, IndexError):  # it has ended
                rig.lambda_.post(*lines)
                flows.set()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert flows.wait(PATIENCE_S)
        rig.lambda_.shutdown()
        ending = rig.process.await_end()
    finally:
        over.set()
        thread.join()
    assert ending.status == 0
    assert ending.took_ms < 2000, "Lambda kills what is still there after two seconds"
    assert ending.logs["received"] == ending.logs["held"] + ending.logs["delivered"]
    assert ending.logs["held"], "or there was no hurry"
