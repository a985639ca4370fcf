"""The profile that CPython is optimized by: counted by a process of ours, kept as text, read by clang."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer import profile
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.linking import NATIVE
from o2_lambda.layer.process import LayerError, run
from o2_lambda.layer.profile import Function
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import Toolchain, host
from tests.packaging.conftest import CACHE, skip_unavailable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

PROGRAM = """
#include <unistd.h>
static int odd(int n) { return n % 2 ? 1 : 0; }
int never(int n) { return n; }
int main(void) {
    int found = 0;
    for (int n = 0; n < 1000; n++)
        found += odd(n);
    _exit(found == 500 ? 0 : never(1));
}
"""


@pytest.fixture
def toolchain() -> Toolchain:
    """The one that compiles CPython."""
    with skip_unavailable():
        store = Store(CACHE)
        return Toolchain(store, Inputs(store), host())


def compile_with(toolchain: Toolchain, source: Path, functions: list[Function]) -> None:
    """Compiles by a profile; raises LayerError where clang finds a function that is not as it was."""
    index = source.with_suffix(f".{functions[0].structure}")  # the compiler's cache knows the file by its path
    index.write_bytes(profile.indexed(functions))
    flags = [f"-fprofile-instr-use={index}", "-Werror=profile-instr-out-of-date"]
    toolchain.compile(source, source.with_suffix(".o"), flags, log=source.with_suffix(".log"))


def test_what_ran_is_counted_and_read_by_the_compiler(toolchain: Toolchain, tmp_path: Path) -> None:
    """From the counters of a process to the compiler, which sees by itself when a function has changed."""
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    log = tmp_path / "log"
    counting = toolchain.compile(source, tmp_path / "counting.o", profile.INSTRUMENT, log=log)
    writer = toolchain.compile(NATIVE / "profile.c", tmp_path / "profile.o", [], log=log)
    run(["o2-cc", "-static", counting, writer, "-o", program], log=log, env=toolchain.env)
    subprocess.run([program], env={"O2_PROFILE": str(tmp_path / "dump")}, check=True)
    found = profile.collected((tmp_path / "dump").read_bytes())
    counts = {function.name: function.counts for function in found}
    assert counts["main"][:2] == (1, 1000)
    assert counts["program.c:odd"] == (1000, 500)
    assert counts["never"] == (0,)
    compile_with(toolchain, source, found)
    changed = [function._replace(structure=function.structure + 1) for function in found]
    with pytest.raises(LayerError, match="out of date"):
        compile_with(toolchain, source, changed)


def test_a_profile_is_kept_as_text() -> None:
    """In one order, without what never ran."""
    functions = [Function("b.c:f", 7, (1, 0, 3)), Function("a", 2**63, (5,)), Function("idle", 1, (0, 0))]
    assert profile.unparse(functions) == f"a {2**63} 5\nb.c:f 7 1 0 3\n"
    assert profile.parse(profile.unparse(functions)) == [functions[1], functions[0]]


def test_the_profile_knows_what_every_life_runs() -> None:
    """CPython starts once, and runs our code."""
    functions = {function.name: function for function in profile.parse(profile.PROFILE.read_text())}
    assert functions["Py_InitializeFromConfig"].counts[0] == 1
    assert functions["_PyEval_EvalFrameDefault"].counts[0] > 1000
