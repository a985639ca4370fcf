"""`make chaos`: random schedules for as long as asked, each with its seed; stops at the end, not at a failure."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.confine import possible
from tests.chaos.oracle import describe, total
from tests.chaos.play import play
from tests.chaos.schedule import draw
from tests.chaos.upstream import Upstream
from tests.chaos.world import STALL_MS_MAX, World


def main() -> int:
    """Runs the schedules; returns the number of seeds that failed, at most 1."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="play this one; may be repeated")
    parser.add_argument("--seeds", type=int, default=50, help="how many random ones (default: 50)")
    parser.add_argument("--seconds", type=float, help="random ones for so long instead")
    parser.add_argument("--verbose", action="store_true", help="tell everything of every schedule")
    options = parser.parse_args()
    first = int.from_bytes(os.urandom(4))
    seeds = options.seed or range(first, first + (10**9 if options.seconds else options.seeds))
    ends_s = time.monotonic() + (options.seconds or 1e9)
    failed, stalled, lines, delivered, played = [], [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder, Upstream(Path(folder)) as upstream:
        world = World(Path(folder), upstream)
        for seed in seeds:
            if time.monotonic() >= ends_s:
                break
            schedule = draw(seed)
            if not possible(schedule.confinement):
                continue
            began_s = time.monotonic()
            evidence, found = play(world, schedule)
            if found and evidence.stalled_ms > STALL_MS_MAX:
                stalled.append(seed)
                print(f"seed {seed}: not judged, the machine stood still for {evidence.stalled_ms:.0f} ms", flush=True)
                continue
            logs = total(evidence, "logs")
            played, lines, delivered = played + 1, lines + logs["received"], delivered + logs["delivered"]
            took = f"{time.monotonic() - began_s:.1f} s"
            print(f"seed {seed}: {'BROKEN' if found else 'ok'}, {len(schedule.steps)} invocations, {took}", flush=True)
            if found:
                failed.append(seed)
            if found or options.verbose:
                print(describe(evidence, found), flush=True)
    print(f"{played} schedules, {lines} records received, {delivered} delivered, failed: {failed or 'none'}")
    if stalled:
        print(f"not judged, as the machine had no time for them: {stalled}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
