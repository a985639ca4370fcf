"""The benches' command lines: what is wrong with them is said in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer.build import project_root

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("option", "problem"),
    [("--python", "it is no Python"), ("--node", "it is no Node.js"), ("--java", "it is no Java")],
)
def test_a_runtime_that_is_something_else_is_named(option: str, problem: str, tmp_path: Path) -> None:
    """A program that runs and answers nothing: no traceback, and nothing is built or installed for it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").symlink_to("/bin/true")
    name = str(tmp_path) if option == "--java" else "true"
    done = subprocess.run(
        [sys.executable, project_root() / "bench/tracing.py", option, name],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bench/tracing.py: {option} {name}: {problem}; name one that is\n"


def test_a_runtime_that_does_not_run_is_named(tmp_path: Path) -> None:
    """With what the system says about it."""
    done = subprocess.run(
        [sys.executable, project_root() / "bench/tracing.py", "--python", tmp_path / "none"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"bench/tracing.py: --python {tmp_path / 'none'}: it does not run (")
    assert len(done.stderr.splitlines()) == 1
