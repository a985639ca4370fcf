"""Load for an hour, with memory watched: an extension that leaks, however slowly, is found out.

    make soak [ARGS="--minutes 10 --executable FILE"]

One process delivers over TLS: mostly small invocations, now and then a large one, now and then a backend that fails.
Its memory is read after each round, when everything is delivered. Flat means that the last third of the rounds has a
median no more than 2% over that of the middle third; the first third is for warming up. Exit status 1 where it is not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine
from extension import unpack_layer
from life import Life
from starts import Candidate

GROWTH_MAX = 1.02
LARGE_EVERY = 20  # rounds
FAILING_EVERY = 7
INVOCATIONS = 10  # a round
# Each invocation waits until all is delivered: what is held would be taken for a leak.
PATIENT = {"O2_FLUSH_STRATEGY": "end", "O2_FLUSH_BUDGET_MS": "10000", "O2_INITIAL_RETRY_DELAY_MS": "20"}


def soak(candidate: Candidate, minutes: float) -> tuple[list[float], int, int]:
    """Memory in MB after each round, invocations, lines lost."""
    memory: list[float] = []
    invocations = 0
    with Life(candidate, tls=True, **PATIENT) as life:
        began, printed = time.monotonic(), 0
        while (elapsed_s := time.monotonic() - began) < minutes * 60:
            number = len(memory)
            if elapsed_s >= (printed + 1) * minutes * 6:
                printed += 1
                part = memory[-max(1, number // printed) :]
                spread = f"{min(part):.2f} to {max(part):.2f} MB, median {statistics.median(part):.2f}"
                print(f"  {elapsed_s / 60:6.1f} min, {invocations} invocations: {spread}", flush=True)
            if number % FAILING_EVERY == 0:
                life.sink.plan = [503, 500]  # one more would open the circuit
            for count in range(INVOCATIONS):
                life.invoke(20_000 if number % LARGE_EVERY == 0 and count == 0 else 1 + (number * 7 + count * 13) % 400)
                invocations += 1
            memory.append(life.memory_mb())
        _took_ms, status, ledger = life.shutdown()
        lost = ledger["logs"]["received"] - life.sink.lines
    if status != 0:
        raise SystemExit(f"exit status {status}")
    return memory, invocations, lost


def main() -> None:
    """Prints a line per tenth of the time, then the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--executable", type=Path, help="by default that of the layer in target/")
    options = parser.parse_args()
    print(machine.describe())
    print("command: python", " ".join(sys.argv), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = options.executable.resolve() if options.executable else unpack_layer(Path(folder))
        memory, invocations, lost = soak(Candidate(path.name, path), options.minutes)
    third = max(1, len(memory) // 3)
    middle, last = statistics.median(memory[third : 2 * third]), statistics.median(memory[-third:])
    flat = last <= middle * GROWTH_MAX
    print(f"{invocations} invocations, {lost} lines lost; {middle:.2f} MB in the middle, {last:.2f} MB at the end")
    print("flat" if flat and lost == 0 else "NOT FLAT" if not flat else "LINES LOST")
    raise SystemExit(0 if flat and lost == 0 else 1)


if __name__ == "__main__":
    main()
