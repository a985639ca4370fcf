"""Measures extension executables against a minimal Lambda and a minimal OpenObserve: start, memory, lines, holds.

    python bench/extension.py [--executable PATH] [--vs [NAME=]PATH ...] [--runs N] [--lives N] [--json FILE]
                              [--plot FILE] [SCENARIO ...]

Without --executable the layer's is built and taken out of the zip. Beside it the extension from source, a C program
that does the least an extension can do (the floor) and every --vs are measured, in turns: one run of each, then the
next round in another order, so that what else the machine does meets all of them. Each run is a fresh process. Printed
are medians with minimum and maximum, and ratios to the first column; machine, load and command come first. Where it
may, the bench runs with real-time priority, the scenarios with a CPU quota excepted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import machine
import plot
import report
import scenarios
import starts
from o2_lambda.layer.build import build, project_root
from o2_lambda.layer.source import EXTENSION_NAME, write_extension
from starts import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    Scenario: TypeAlias = Callable[[Candidate], report.Figures]

HERE = Path(__file__).resolve().parent
SYSTEM_CA = Path("/etc/ssl/certs")
LIVES = ("cycle", "warm", "memory", "bulk", "bulk_tls", "outage", "errors", "backlog")
LIMITED = {f"start_{size.replace(' ', '').lower()}": cpus for size, cpus in machine.SHARES.items()}
STARTS = ("start", "start_evicted", "start_tls", *LIMITED)


def unpack_layer(folder: Path) -> Path:
    """Builds the core zip for this machine and unpacks it; returns its executable."""
    arch = "x86_64" if platform.machine() == "x86_64" else "arm64"
    (path,) = build([arch], ["core"], folder, project_root() / ".cache" / "layer")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    print(f"{path.name}: {path.stat().st_size} bytes")
    executable = folder / "extensions" / EXTENSION_NAME
    executable.chmod(0o755)
    return executable


def compiled(name: str, folder: Path) -> Path | None:
    """One of the bench's own C programs, static; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    subprocess.run([compiler, "-O2", "-static", "-o", folder / name, HERE / f"{name}.c"], check=True)
    return folder / name


def candidates(options: argparse.Namespace, folder: Path) -> list[Candidate]:
    """What is measured: the layer's executable first."""
    first = options.executable.resolve() if options.executable else unpack_layer(folder)
    layer_ca = first.parent.parent / "o2" / "ca"
    ca = layer_ca if layer_ca.is_dir() else SYSTEM_CA
    found = [Candidate("layer" if not options.executable else first.name, first, ca)]
    for word in options.vs:
        name, _, path = word.rpartition("=")
        path = Path(path).resolve()
        found.append(Candidate(name or path.name, path, ca))
    (folder / "source").mkdir()
    found.append(Candidate("source", write_extension(folder / "source"), ca, evictable=False))
    if floor := compiled("floor", folder):
        found.append(Candidate("floor", floor, minimal=True))
    else:
        print("floor: not measured, there is no C compiler here (cc)")
    return found


def applicable(scenario: str, candidate: Candidate) -> bool:
    """Whether a candidate can be measured so."""
    if scenario == "start_evicted":
        return candidate.evictable
    return not candidate.minimal or (scenario in STARTS and scenario != "start_tls")


def scenario_functions(folder: Path) -> dict[str, Scenario]:
    """Name -> what runs it; a scenario that this machine does not allow is left out, and said so."""
    found: dict[str, Scenario] = {name: getattr(starts, name) for name in STARTS if name not in LIMITED}
    gate = compiled("gate", folder)
    try:
        machine.Quota(1).close()
    except OSError as reason:
        print(f"CPU quotas: not measured, no cgroup can be made here ({reason})")
    else:
        if gate:
            for name, cpus in LIMITED.items():
                found[name] = partial(starts.start_limited, gate=gate, cpus=cpus)
                period_ms = machine.PERIOD_US // 1000
                found[name].__doc__ = f"Spawn to the first /next with {cpus} CPU (cgroup quota of each {period_ms} ms)."
        else:
            print("CPU quotas: not measured, there is no C compiler here (cc)")
    return found | {name: getattr(scenarios, name) for name in LIVES}


def measure(scenario: str, function: Scenario, field: list[Candidate], runs: int) -> dict[str, list[report.Figures]]:
    """Candidate -> figures of each run; one round before them fills the caches."""
    found: dict[str, list[report.Figures]] = {}
    taking_part = [candidate for candidate in field if applicable(scenario, candidate)]
    for number in range(-1 if scenario in STARTS else 0, runs):
        for candidate in machine.in_turns(taking_part, number):
            try:
                figures = function(candidate)
            except (OSError, subprocess.TimeoutExpired) as reason:
                print(f"{scenario}: {candidate.name} failed: {reason}")
                continue
            if number >= 0:
                found.setdefault(candidate.name, []).append(figures)
    return {candidate.name: found.get(candidate.name, []) for candidate in taking_part}


def sizes(field: list[Candidate]) -> dict[str, dict[str, object]]:
    """Path, size and digest of each executable."""
    return {
        candidate.name: {
            "path": str(candidate.path),
            "bytes": candidate.path.stat().st_size,
            "sha256": hashlib.sha256(candidate.path.read_bytes()).hexdigest(),
        }
        for candidate in field
    }


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *STARTS, *LIVES], default=[])
    parser.add_argument("--executable", type=Path, help="instead of the layer's, built here")
    parser.add_argument("--vs", action="append", default=[], metavar="[NAME=]PATH", help="another one, repeatable")
    parser.add_argument("--runs", type=int, default=40, help="rounds of the starts (40)")
    parser.add_argument("--lives", type=int, default=5, help="rounds of the rest (5)")
    parser.add_argument("--json", type=Path, default=Path("target/bench/extension.json"), help="raw data (%(default)s)")
    parser.add_argument("--plot", type=Path, default=Path("target/bench/extension.png"), help="picture (%(default)s)")
    parser.add_argument("--among-others", action="store_true", help="do not run with real-time priority")
    options = parser.parse_args()
    others = [word.rpartition("=")[2] for word in options.vs]
    for name, path in [("--executable", options.executable), *(("--vs", Path(word)) for word in others)]:
        if path and not os.access(path, os.X_OK):
            parser.error(f"{name} {path} is no file that can be run; give the path of an extension's executable")
    return options


def main() -> None:
    options = parsed()
    threading.excepthook = lambda _arguments: None  # a fake's thread ends with its socket
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header: dict[str, object] = {
            "machine": machine.describe(),
            "load_before": machine.load(),
            "scheduling": machine.run_ahead(enabled=not options.among_others),
            "command": " ".join(["python", *sys.argv]),
        }
        field = candidates(options, folder)
        header["candidates"] = sizes(field)
        for key in ("machine", "load_before", "scheduling", "command"):
            print(f"{key}: {header[key]}")
        for candidate, facts in sizes(field).items():
            print(f"{candidate}: {facts['bytes']} bytes, sha256 {str(facts['sha256'])[:16]}")
        functions = scenario_functions(folder)
        results: report.Results = {}
        for scenario in options.scenarios or functions:
            if function := functions.get(scenario):
                runs = options.runs if scenario in STARTS else options.lives
                # A quota binds ordinary processes only.
                machine.run_ahead(enabled=scenario not in LIMITED and not options.among_others)
                results[scenario] = measure(scenario, function, field, runs)
                about = (function.__doc__ or "").splitlines()[0]
                report.print_scenario(scenario, about, results[scenario])
    header["load_after"] = machine.load()
    print(f"\nload_after: {header['load_after']}")
    report.write_json(options.json, header, results)
    plot.draw(options.plot, header, results)
    print(f"raw data: {options.json}; picture: {options.plot}")


if __name__ == "__main__":
    os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "o2-bench-matplotlib"))
    main()
