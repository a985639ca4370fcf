"""Writes the profile that CPython is optimized by: how often each block runs in a life of the extension.

A life: start, three invocations over TLS, the end. To be run when CPython changes; functions that are not as they were
when the profile was written are compiled without one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from o2_lambda.layer import profile
from o2_lambda.layer.build import project_root
from o2_lambda.layer.linking import Builder
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host

sys.path.insert(0, str(project_root() / "bench"))
from life import Life
from starts import Candidate

LINES = (10, 1000, 3)  # per invocation: a start weighs as much as some thousand lines


def main() -> None:
    """Builds, runs and writes."""
    executable = Builder(Store(project_root() / ".cache" / "layer"), instrumented=True).executable(host(), "plain")
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, "dump")
        settings = {"O2_FLUSH_STRATEGY": "end", "O2_FLUSH_BUDGET_MS": "20000", "O2_PROFILE": str(dump)}
        with Life(Candidate("profiled", executable), tls=True, **settings) as life:
            for lines in LINES:
                life.invoke(lines)
            life.shutdown()
        functions = profile.collected(dump.read_bytes())
    text = profile.unparse(functions)
    profile.PROFILE.write_text(text)
    print(f"{text.count(chr(10))} of {len(functions)} functions ran")


if __name__ == "__main__":
    main()
