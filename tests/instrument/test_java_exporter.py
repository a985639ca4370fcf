"""The Java exporter, step by step, in place of the agent: what it sends when, what it keeps, what it drops and says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from o2_lambda.layer import java
from o2_lambda.layer.build import INSTRUMENT
from o2_lambda.layer.maven import fetched
from o2_lambda.layer.store import Store
from tests.packaging.conftest import CACHE, skip_unavailable

HERE = Path(__file__).parent / "java"
LIMIT_S = 60
DROPPED = "o2-lambda: {} spans were dropped: the receiver did not take them\n"

pytestmark = pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven not installed")


class Play(Protocol):
    """Runs the steps of Script.java; the batches of each, and what was said on stderr."""

    def __call__(self, *steps: str, at_start: str = ...) -> tuple[list[str], str]: ...


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    folder = tmp_path_factory.mktemp("java")
    sources = Path(shutil.copytree(INSTRUMENT / "java", folder / "sources"))
    shutil.copy(HERE / "Script.java", sources / "o2" / "tracing")
    with skip_unavailable():
        agent, compiler = (fetched(Store(CACHE), artifact) for artifact in (java.AGENT, java.COMPILER))
        (folder / "script.jar").write_bytes(java.extension(Store(folder / "store"), agent, compiler, sources))
    java._unpack_classes(agent, folder / "agent")
    path = f"{folder / 'script.jar'}:{folder / 'agent'}:{agent}"

    def play(*steps: str, at_start: str = "ok") -> tuple[list[str], str]:
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", path, "o2.tracing.Script", at_start, *steps]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        first, *batches = done.stdout.splitlines()
        assert first == "0", "an export of nothing, which loads the code"
        return batches, done.stderr

    return play


def test_spans_go_out_at_once_in_batches(play: Play) -> None:
    """While the receiver is well there is no queue, and nothing is said."""
    assert play("+1", "+3", "+1025", "end") == (["1", "3", "512 512 1", ""], "")


@pytest.mark.parametrize("trouble", ["refused", "429", "503"])
def test_what_is_refused_is_kept_and_tried_again_ever_more_seldom(play: Play, trouble: str) -> None:
    """Skips of 1, 2, 4 … exports; after the first success all goes, and the next failure skips one again."""
    tries, said = play(trouble, *["+1"] * 11, "ok", *["+1"] * 9, trouble, "+1", "ok", "+1", "+1", "end")
    assert tries[:11] == ["1", "", "3", "", "", "6", "", "", "", "", "11"]
    assert tries[11:20] == ["", "", "", "", "", "", "", "", "20"]
    assert tries[20:] == ["1", "", "3", ""]
    assert said == ""


def test_the_attempt_that_may_fail_again_is_a_small_one(play: Play) -> None:
    """32 spans; the rest follows at once when they are taken."""
    assert play("503", "+100", "+1", "+1", "+1", "ok", "+1", "+1", "end")[0] == [
        "100", "", "32", "", "", "32 73", "",
    ]  # fmt: skip


def test_a_hanging_receiver_gets_one_export(play: Play) -> None:
    """Whatever comes until it answers follows then; nothing is sent twice, nothing lost."""
    assert play("+1", "hang", "+1", "+1", "+700", "ok", "+1", "+1", "end") == (
        ["1", "1", "", "", "512 190", "1", ""],
        "",
    )


def test_a_receiver_that_hangs_from_the_start_is_waited_for_once(play: Play) -> None:
    """The spans of all invocations wait for the answer to the export of nothing."""
    assert play("+1", "+1", "+1", at_start="late")[0] == ["waited", "2 ", "1 waited"]
    assert play("+1", "+1", "ok", "+1", "end", at_start="hang") == (["", "", "3", ""], "")


def test_a_receiver_that_is_missing_at_the_start_is_tried_again(play: Play) -> None:
    """As after any failure."""
    assert play("+1", "ok", "+1", "end", at_start="refused") == (["", "2", ""], "")


def test_a_slow_receiver_is_waited_for_ever_more_seldom(play: Play) -> None:
    """After a wait in vain 1, 2, 4 … exports are not waited for, until an answer comes in time; all are sent."""
    steps, said = play("+1", "late", *["+1"] * 11, "ok", *["+1"] * 9, "late", "+1", "+1", "+1", "end")
    assert [step.endswith("waited") for step in steps[1:12]] == [number in (1, 3, 6, 11) for number in range(1, 12)]
    assert [step.endswith("waited") for step in steps[21:24]] == [True, False, True]
    assert ([step.split()[0] for step in steps[:24]], said) == (["1"] * 24, "")


def test_an_export_without_an_answer_may_have_been_taken(play: Play) -> None:
    """It is not sent again, and counts as dropped, which is told when the receiver takes spans again."""
    assert play("timeout", "+2", "+1", "ok", "+1", "+1", "end") == (["2", "", "2", "1", ""], DROPPED.format(2))


def test_spans_that_are_refused_for_themselves_are_dropped(play: Play) -> None:
    """400 says nothing of the spans that come after."""
    assert play("400", "+2", "ok", "+1", "end") == (["2", "1", ""], DROPPED.format(2))


def test_the_queue_is_bounded_and_the_end_tries_once_more(play: Play) -> None:
    """2048 spans are kept, the oldest; one line says how many were not."""
    assert play("503", "+1", "+2000", "+100", "ok", "end") == (
        ["1", "", "32", "512 512 512 512"], DROPPED.format(53),
    )  # fmt: skip


@pytest.mark.parametrize("trouble", ["503", "hang"])
def test_what_cannot_be_sent_at_the_end_is_counted(play: Play, trouble: str) -> None:
    """One line, also where an export is still without an answer."""
    sent, said = play("+1", trouble, "+1", "+2", "end")
    assert said == DROPPED.format(3)
    assert sent[:3] == ["1", "1", ""]
