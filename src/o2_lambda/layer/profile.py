"""How often each block of CPython runs in a life of the extension, for the compiler to optimize by.

The profile is kept as text, a function a line: its name (static ones as "file.c:name"), the hash of its control flow,
the count of each of its counters. clang reads a binary index of that, "indexed profile" version 6, which is made here:
it takes no tool that the compiler does not bring. A function whose hash differs, because the source has changed, is
compiled as if there were no profile. scripts/write_profile.py writes the text.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from o2_lambda.layer.store import Store

PROFILE = Path(__file__).parent / "native" / "profile.txt"
INGREDIENTS = (PROFILE, Path(__file__))
INSTRUMENT = ("-fprofile-instr-generate", "-fprofile-update=single")
_MAGIC = 0x8169666F72706CFF  # "\xfflprofi\x81"
_VERSION = 6  # the last whose header has no more than this; older ones mean other hashes
_HASH_MD5 = 0
_NO_VALUES = struct.pack("<II", 8, 0)  # of indirect calls: none were profiled
_CUTOFFS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.9, 99.99, 99.999, 99.9999)  # percent of all counts
_SCALE = 10_000  # cutoffs are stored in millionths
# In the instrumented process: digest of the name, hash, where the counters are, bitmap, function, values; how many.
_RECORD = struct.Struct("<QQq24xI12x")


class Function(NamedTuple):
    """A line of the profile."""

    name: str
    structure: int  # the hash of its control flow
    counts: tuple[int, ...]


def parse(text: str) -> list[Function]:
    """The functions of a profile."""
    found = []
    for line in text.splitlines():
        name, structure, *counts = line.split()
        found.append(Function(name, int(structure), tuple(map(int, counts))))
    return found


def unparse(functions: list[Function]) -> str:
    """The text of a profile; functions that never ran are left out, which says just that."""
    ran = sorted(function for function in functions if any(function.counts))
    return "".join(f"{name} {structure} {' '.join(map(str, counts))}\n" for name, structure, counts in ran)


def indexed(functions: list[Function]) -> bytes:
    """The profile as clang's -fprofile-instr-use reads it."""
    summary = _summary([function.counts for function in functions])
    head_bytes = 5 * 8
    records: dict[bytes, bytes] = {}
    for name, structure, counts in functions:
        record = struct.pack(f"<QQ{len(counts)}Q", structure, len(counts), *counts) + _NO_VALUES
        key = name.encode()
        records[key] = records.get(key, b"") + record
    table, buckets_at = _hash_table(records, head_bytes + len(summary))
    return struct.pack("<5Q", _MAGIC, _VERSION, 0, _HASH_MD5, buckets_at) + summary + table


def _summary(functions: list[tuple[int, ...]]) -> bytes:
    """Totals, and for each cutoff the least count of the blocks that together make up so much of all counts."""
    counts = sorted((count for function in functions for count in function), reverse=True)
    total = sum(counts)
    internal = max((count for function in functions for count in function[1:]), default=0)
    fields = (len(functions), len(counts), max(function[0] for function in functions), counts[0], internal, total)
    entries = []
    reached = place = 0
    for percent in _CUTOFFS:
        cutoff = round(percent * _SCALE)
        while reached < total * cutoff // 1_000_000:
            reached += counts[place]
            place += 1
        while 0 < place < len(counts) and counts[place] == counts[place - 1]:  # blocks of one count go together
            reached += counts[place]
            place += 1
        entries.append((cutoff, counts[max(0, place - 1)], place))
    head = struct.pack("<8Q", len(fields), len(entries), *fields)
    return head + b"".join(struct.pack("<3Q", *entry) for entry in entries)


def _hash_table(records: dict[bytes, bytes], start: int) -> tuple[bytes, int]:
    """LLVM's on-disk hash table, which begins at the offset `start`; and the offset of its index."""
    bucket_count = 1 << (len(records) * 4 // 3).bit_length()
    buckets: list[list[tuple[int, bytes]]] = [[] for _ in range(bucket_count)]
    for key in sorted(records):
        digest = _digest(key)
        buckets[digest % bucket_count].append((digest, key))
    payload, offsets = b"", []
    for bucket in buckets:
        offsets.append(start + len(payload) if bucket else 0)
        payload += struct.pack("<H", len(bucket)) if bucket else b""
        for digest, key in bucket:
            payload += struct.pack("<3Q", digest, len(key), len(records[key])) + key + records[key]
    payload += bytes(-(start + len(payload)) % 8)
    index = struct.pack(f"<2Q{bucket_count}Q", bucket_count, len(records), *offsets)
    return payload + index, start + len(payload)


def flags(store: Store) -> list[str]:
    """What lets clang optimize by the profile. Which function is hot for the linker is told by another list."""

    def make(output: Path, _scratch: Path) -> None:
        (output / "indexed").write_bytes(indexed(parse(PROFILE.read_text())))

    folder = store.result("profile", INGREDIENTS, make)
    return [f"-fprofile-instr-use={folder / 'indexed'}", "-mllvm", "-profile-guided-section-prefix=false"]


def collected(dump: bytes) -> list[Function]:
    """The functions of an instrumented process's dump, which native/profile.c wrote."""
    data_bytes, counter_bytes, name_bytes, distance = struct.unpack_from("<3Qq", dump)
    data = dump[32 : 32 + data_bytes]
    counters = dump[32 + data_bytes :][:counter_bytes]
    names = {_digest(name): name.decode() for name in _names(dump[32 + data_bytes + counter_bytes :][:name_bytes])}
    found = []
    for place in range(0, data_bytes, _RECORD.size):
        digest, structure, offset, count = _RECORD.unpack_from(data, place)
        start = place + offset - distance  # stored relative to the record
        found.append(Function(names[digest], structure, struct.unpack_from(f"<{count}Q", counters, start)))
    return found


def _names(section: bytes) -> Iterator[bytes]:
    """Chunks: the size unpacked and the size packed as LEB128, zlib (not packed: size 0), names between 0x01."""
    place = 0
    while place < len(section):
        if section[place] == 0:  # alignment
            place += 1
            continue
        sizes = []
        for _ in range(2):
            value = shift = 0
            while True:
                byte = section[place]
                place += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:  # noqa: PLR2004 - the last one
                    break
            sizes.append(value)
        unpacked, packed = sizes
        chunk = section[place : place + (packed or unpacked)]
        place += len(chunk)
        yield from (zlib.decompress(chunk) if packed else chunk).split(b"\1")


def _digest(name: bytes) -> int:
    return int.from_bytes(hashlib.md5(name, usedforsecurity=False).digest()[:8], "little")
