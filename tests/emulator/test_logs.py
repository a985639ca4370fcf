"""How output becomes records: lines, frames, JSON log format."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.emulator import Emulator
from o2_lambda.emulator.framing import FRAME_HEADER, LINE_BYTES_MAX, Frames, Lines
from tests.emulator.conftest import Puppet, Sink, Stage, executable

if TYPE_CHECKING:
    import aiohttp

LOGGING = """
import logging, sys
logging.getLogger().setLevel("INFO")
def handler(event, context):
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.info("one\\ntwo")
    if event.get("boom"):
        raise ValueError("boom")
"""


def frame(text: str, kind: int = 0xA55A0003) -> bytes:
    """One log frame."""
    data = text.encode()
    return FRAME_HEADER.pack(kind, len(data), 1_700_000_000_000_000) + data


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_survive_every_fragmentation(size: int) -> None:
    """One frame is one record, whatever line feeds it contains."""
    stream = frame("a\nb") + frame("") + frame("ü\n", 0xA55A0016)
    parser = Frames()
    records = [record for at in range(0, len(stream), size) for record in parser.feed(stream[at : at + size])]
    assert records == ["a\nb", "", "ü\n"]
    assert parser.close() == []


def test_what_is_not_framed_is_read_as_lines() -> None:
    """A runtime that writes plain text to the descriptor loses nothing."""
    parser = Frames()
    assert parser.feed(b"this is plain text\nand") == ["this is plain text\n"]
    assert parser.feed(b" more") == []
    assert parser.close() == ["and more"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_keep_their_line_feed(size: int) -> None:
    """Multi-byte characters may be cut anywhere; the rest without a line feed comes at the end."""
    stream = "é1\n\nlast".encode()
    parser = Lines()
    records = [record for at in range(0, len(stream), size) for record in parser.feed(stream[at : at + size])]
    assert records == ["é1\n", "\n"]
    assert parser.close() == ["last"]


def test_endless_line_is_cut() -> None:
    """Memory is bounded."""
    parser = Lines()
    records = parser.feed(b"x" * (2 * LINE_BYTES_MAX + 1))
    assert [len(record) for record in records] == [LINE_BYTES_MAX, LINE_BYTES_MAX]
    assert parser.close() == ["x"]


async def run_with_sink(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink, payload: bytes = b"{}", **settings: Any
) -> list[Any]:
    """Invoke the logging function once and return the function records received."""
    config = stage.python_config(LOGGING, extensions=[stage.sleeper()], eager_init=False, freeze=False, **settings)
    async with Emulator(config) as emulator:
        puppet = Puppet(emulator, session)
        init = asyncio.create_task(emulator.init())
        await puppet.spawned("puppet")
        await puppet.register()
        await puppet.subscribe(sink.destination)
        event_call = puppet.next()
        await init
        invocation = emulator.begin_invoke(payload)
        await event_call
        await sink.until(lambda s: "platform.runtimeDone" in s.types)
        event_call = puppet.next()
        await invocation.done
        await emulator.shutdown()
        await event_call
    return [event["record"] for event in sink.events if event["type"] == "function"]


async def test_text_format_frames_multi_line_records(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """A logging call is one record through the log descriptor, a traceback too."""
    records = await run_with_sink(stage, session, sink, b'{"boom":1}')
    assert {"printed\n", "to stderr\n"} <= set(records)
    multi = [record for record in records if "one\ntwo" in record]
    assert len(multi) == 1
    assert multi[0].startswith("[INFO]\t")
    assert any(record.startswith("[ERROR] ValueError: boom\nTraceback") for record in records)


async def test_without_the_descriptor_lines_are_records(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink
) -> None:
    """Stdout is line-based: a line feed ends a record; tracebacks use carriage returns."""
    records = await run_with_sink(stage, session, sink, b'{"boom":1}', log_fd=False)
    assert "two\n" in records
    assert any(record.startswith("[ERROR] ValueError: boom\rTraceback") for record in records)


async def test_json_format_gives_objects(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """Logging records are objects, printed lines stay strings."""
    records = await run_with_sink(stage, session, sink, log_format="JSON")
    objects = [record for record in records if isinstance(record, dict)]
    assert [record["message"] for record in objects] == ["one\ntwo"]
    assert objects[0]["level"] == "INFO"
    assert objects[0]["requestId"]
    assert {"printed\n", "to stderr\n"} <= {record for record in records if isinstance(record, str)}


async def test_extension_output_has_its_own_type(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """Stdout of an extension is of type extension, and never parsed."""
    path = executable(stage.opt / "puppet", "#!/bin/sh\necho '{\"a\":1}'\nexec sleep 600\n")
    async with Emulator(stage.puppet_config(extensions=[path], log_format="JSON", freeze=False)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: "extension" in s.types)
        record = next(event["record"] for event in sink.events if event["type"] == "extension")
        assert record == json.dumps({"a": 1}, separators=(",", ":")) + "\n"
        assert emulator.output[0] == ("extension:puppet", '{"a":1}\n')
