"""Looks for bytes that break a target, guided by coverage: `make fuzz ARGS="telemetry --seconds 600"`.

New inputs that reach further are kept below `.cache/fuzz`; one that breaks a target is written into the corpus, where
the tests find it from then on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["o2_lambda.extension"]):
    from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"


def explore(name: str, seconds: int) -> int:
    """Runs one target in a process of its own, as libFuzzer ends its process; returns its exit status."""
    found = ROOT / ".cache" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    bounds = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={kept}/found-", str(found), str(kept)], TARGETS[name])
    atheris.Fuzz()
    return 0


def main() -> int:
    """Runs the targets in turn; the exit status is the worst of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    return max(explore(name, options.seconds) for name in options.target or TARGETS)


if __name__ == "__main__":
    sys.exit(main())
