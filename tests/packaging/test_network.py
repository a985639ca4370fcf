"""Names and certificates in a bare root: resolv.conf is all there is, and roots are found by hash."""

from __future__ import annotations

import base64
import shutil
from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda.layer.certificates import subject_hash
from tests.integration.secured import server_context
from tests.packaging.dns import DnsServer

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig
    from tests.packaging.conftest import BareRoot

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

HOST = "collector.test"
NAMES = {HOST: "127.0.0.1"}


def der(authority: trustme.CA) -> bytes:
    """A CA's certificate in binary."""
    lines = authority.cert_pem.bytes().decode().splitlines()
    return base64.b64decode("".join(line for line in lines if not line.startswith("-")))


def named_rig(arena: Arena, root: BareRoot, **settings: str) -> Rig:
    """An extension in the bare root whose backend has a name."""
    sink = arena.sink()
    return arena.rig(executable=root.executable, sink=sink, O2_ENDPOINT=f"http://{HOST}:{sink.port}", **settings)


def delivered(rig: Rig) -> list[str]:
    """What arrives of one line."""
    rig.invocation("hello")
    assert rig.end().status == 0
    return rig.sink.lines()


def test_a_name_is_resolved_through_resolv_conf(arena: Arena, bare_root: BareRoot) -> None:
    """There is no nsswitch, no libnss and no cache in a bare root."""
    bare_root.resolve_through("127.53.0.1")
    with DnsServer("127.53.0.1", NAMES) as server:
        assert delivered(named_rig(arena, bare_root)) == ["hello"]
        assert ("udp", HOST) in server.queries


def test_a_truncated_answer_is_asked_for_again_over_tcp(arena: Arena, bare_root: BareRoot) -> None:
    """Large answers do not fit into a datagram."""
    bare_root.resolve_through("127.53.0.1")
    with DnsServer("127.53.0.1", NAMES, truncate=True) as server:
        assert delivered(named_rig(arena, bare_root)) == ["hello"]
        assert ("tcp", HOST) in server.queries


def test_a_dead_first_name_server_costs_nothing(arena: Arena, bare_root: BareRoot) -> None:
    """All servers are asked at once."""
    bare_root.resolve_through("127.53.0.2", "127.53.0.1")
    with DnsServer("127.53.0.2", {}, silent=True), DnsServer("127.53.0.1", NAMES):
        assert delivered(named_rig(arena, bare_root)) == ["hello"]


def test_silent_name_servers_delay_neither_the_function_nor_the_exit(arena: Arena, bare_root: BareRoot) -> None:
    """The C library would wait for five seconds, and resolv.conf may say that it be more."""
    bare_root.resolve_through("127.53.0.1")
    with DnsServer("127.53.0.1", NAMES, silent=True):
        rig = named_rig(arena, bare_root, O2_FLUSH_BUDGET_MS="9000")
        rig.invocation("hello")  # would be held for as long, were the look-up not given up
        ending = rig.end()
    assert ending.status == 0
    assert ending.took_ms < 2000, "Lambda kills what is still there after two seconds"
    assert any("no answer from the name servers" in line for line in ending.lines)


def test_answers_that_come_late_are_used(arena: Arena, bare_root: BareRoot) -> None:
    """Each takes longer than a look-up may: the next attempt finds it."""
    bare_root.resolve_through("127.53.0.1")
    with DnsServer("127.53.0.1", NAMES) as server:
        server.delay_s = 2.0  # for each address family, one after the other
        rig = named_rig(arena, bare_root, O2_INITIAL_RETRY_DELAY_MS="50")
        rig.invocations_until("Successfully sent")
        assert rig.end().status == 0


def test_an_unknown_name_is_an_outage_and_no_bug(arena: Arena, bare_root: BareRoot) -> None:
    """The line says what is wrong; telemetry is held, and the function is not."""
    bare_root.resolve_through("127.53.0.1")
    with DnsServer("127.53.0.1", {}):
        rig = named_rig(arena, bare_root)
        rig.invocation("hello")
        ending = rig.end()
    assert ending.status == 0
    assert any("host name cannot be resolved" in line for line in ending.lines)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_server_is_trusted_by_its_authority(arena: Arena, bare_root: BareRoot, form: str) -> None:
    """As the layer's own folder of certificates, or as a file."""
    authority = trustme.CA()
    folder = bare_root.folder / "opt/o2/ca"
    authority.cert_pem.write_to_path(str(folder / f"{subject_hash(der(authority))}.0"))
    shutil.copy(folder / f"{subject_hash(der(authority))}.0", bare_root.folder / "tmp/ca.pem")
    sink = arena.sink(server_context(authority))
    setting = "/opt/o2/ca" if form == "folder" else "/tmp/ca.pem"
    rig = arena.rig(executable=bare_root.executable, sink=sink, O2_CA_CERT=setting)
    assert delivered(rig) == ["hello"]


def test_a_server_of_an_unknown_authority_is_refused(arena: Arena, bare_root: BareRoot) -> None:
    """Credentials go nowhere else."""
    sink = arena.sink(server_context(trustme.CA()))
    rig = arena.rig(executable=bare_root.executable, sink=sink, O2_CA_CERT="/opt/o2/ca")
    assert delivered(rig) == []
    assert any("certificate refused" in line for line in rig.process.lines)
