"""The official spans and ours, compared one by one: what differs must be what is listed, no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.instrument.recording import Recorded


def other_spans(pairs: Iterable[tuple[Recorded, Recorded]]) -> set[tuple[str, str]]:
    """Names, kinds and parents that differ: (the official one's, ours). Failures must be the same."""
    different = set()
    for official, ours in pairs:
        for theirs, own in ((official.name, ours.name), (official.kind, ours.kind), (official.parent, ours.parent)):
            if theirs != own:
                different.add((theirs, own))
        assert official.failed == ours.failed
    return different


def other_exceptions(pairs: Iterable[tuple[Recorded, Recorded]]) -> set[tuple[str | None, ...]]:
    """The types of recorded exceptions, where they differ: the official one's, then ours."""
    different = set()
    for spans in pairs:
        theirs, own = ([event.get("exception.type") for event in span.events] for span in spans)
        if theirs != own:
            different.add((*theirs, *own))
    return different


def assert_attributes(
    pairs: Iterable[tuple[Recorded, Recorded]],
    *,
    only_ours: Iterable[str],
    only_official: Iterable[str],
    other_value: Iterable[str],
) -> None:
    """Over all spans, by name: each of these tables of reasons names just what differs."""
    found: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for official, ours in pairs:
        theirs, own = official.attributes, ours.attributes
        found[0].update(own.keys() - theirs.keys())
        found[1].update(theirs.keys() - own.keys())
        found[2].update(key for key in theirs.keys() & own.keys() if theirs[key] != own[key])
    assert found == (set(only_ours), set(only_official), set(other_value))
