"""The build's steps, each by itself: nothing is compiled here."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from o2_lambda.cli.main import main
from o2_lambda.layer import build as build_module
from o2_lambda.layer import bytecode, freezing, notices
from o2_lambda.layer.build import project_root
from o2_lambda.layer.bytecode import PYODIDES, Pyodide
from o2_lambda.layer.bytecode_compile import UNCHECKED_HASH
from o2_lambda.layer.certificates import hashed_folder
from o2_lambda.layer.freezer import compiled
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.linking import NATIVE
from o2_lambda.layer.packing import Entry, sizes, write_zip
from o2_lambda.layer.process import LayerError, run
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host
from tests.packaging.conftest import CACHE, skip_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import CodeType


LICENSE = project_root() / "LICENSE"


def test_roots_with_the_same_name_are_numbered() -> None:
    """OpenSSL tries `<hash>.0`, `<hash>.1` and so on."""
    certificate = base64.b64encode(bytes.fromhex("300d300b0201013000300030003000")).decode()  # no name at all
    pem = f"-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n"
    files = hashed_folder(f"# a comment\n{pem}\n{pem}")
    (name,) = {file.partition(".")[0] for file in files}
    assert sorted(files) == [f"{name}.{number}" for number in range(len(files))]
    assert len(files) > 1


def test_a_zip_depends_on_its_contents_alone(tmp_path: Path) -> None:
    """Neither the order nor the time of writing shows."""
    entries = {"b/x": Entry(b"x" * 1000), "a": Entry(b"#!", executable=True)}
    write_zip(tmp_path / "one.zip", entries)
    write_zip(tmp_path / "two.zip", dict(reversed(entries.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_sizes_are_told_by_part(tmp_path: Path) -> None:
    """A person sees what the executable, the certificates and each tracer take, not what each folder of them does."""
    names = ("extensions/o2-lambda-extension", "o2/python/a.py", "o2/python/deep/b.py", "otel-instrument")
    write_zip(tmp_path / "a.zip", {name: Entry(b"x" * 10) for name in names})
    counts = {part: counts[:2] for part, counts in sizes(tmp_path / "a.zip").items()}
    assert counts == {
        "extensions/o2-lambda-extension": (1, 10),
        "o2/python": (2, 20),
        "otel-instrument": (1, 10),
    }


def test_every_bill_of_materials_has_a_namespace_of_its_own() -> None:
    """SPDX asks for it: another file or another word about a component makes another document."""
    work = notices.Component("thing", "1", "MIT", "somebody", "", "text")

    def namespace(work: notices.Component, content: bytes) -> str:
        document = json.loads(notices.entries([work], {"a": Entry(content)})[notices.SBOM].content)
        return str(document["documentNamespace"])

    assert namespace(work, b"a") == namespace(work, b"a")
    assert len({namespace(work, b"a"), namespace(work, b"b"), namespace(work._replace(license="ISC"), b"a")}) == 3


def test_a_step_is_done_once_per_set_of_ingredients(tmp_path: Path) -> None:
    """What has not changed is never made again; what has changed always is, a file's content included."""
    source = tmp_path / "source"
    source.write_text("one")
    told: list[str] = []
    store, made = Store(tmp_path / "store", lambda step, _seconds: told.append(step)), []

    def make(output: Path, _scratch: Path) -> None:
        made.append(source.read_text())
        (output / "result").write_text(source.read_text())

    for text in ("one", "one", "two", "two"):
        source.write_text(text)
        assert (store.result("step", [source, 1], make) / "result").read_text() == text
    store.result("step", [source, 2], make)
    assert made == ["one", "two", "two"]
    assert told == ["step"] * 3


def test_a_step_that_fails_leaves_no_result(tmp_path: Path) -> None:
    """Half a result would be taken for a whole one by the next build."""
    store = Store(tmp_path)

    def fail(output: Path, _scratch: Path) -> None:
        (output / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.result("step", 1, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["step.lock"]


SOURCE = '''\
"""A docstring."""
from __future__ import annotations
TYPE_CHECKING = False
if TYPE_CHECKING:
    import nowhere
class Thing:
    """Another."""
    name: str
    size: int = 3
    def grow(self, by: nowhere.Size = 1) -> nowhere.Size:
        """And another."""
        assert by > 0, "too small"
        return self.size + by
    def rest(self) -> None:
        """Nothing but a docstring."""
'''


def test_freezing_changes_nothing_but_what_nobody_reads() -> None:
    """Docstrings, annotations and type checkers' imports go; assertions and line numbers stay."""
    code = compiled("thing", SOURCE, ours=True)
    namespace: dict[str, type] = {"__name__": "thing"}
    exec(code, namespace)
    thing = namespace["Thing"]()
    assert thing.grow(2) == 5
    assert thing.rest() is None
    with pytest.raises(AssertionError, match="too small"):
        thing.grow(0)
    assert thing.grow.__doc__ is None
    assert thing.grow.__annotations__ == {}
    assert thing.grow.__code__.co_firstlineno == 10
    assert not {"__future__", "nowhere"} & set(names(code))


def names(code: CodeType) -> Iterator[str]:
    """Every name that a module's code uses, nested code included."""
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from names(constant)


def test_everything_that_the_extension_imports_is_in_the_executable(tmp_path: Path) -> None:
    """A module that is missing shows only when its line runs: in a customer's function."""
    frozen = freezing.modules(tmp_path)
    tables = re.findall(r"M\((\w+)\)", (NATIVE / "modules.c").read_text())
    present = {*tables, *(module.name for module in frozen), "sys", "builtins", "marshal", "_warnings"}
    missing = set()
    for module in frozen:
        if module.ours:
            tree = ast.parse(module.path.read_text())
            missing |= {f"{module.name}: {name}" for name in imported(tree) if name not in present}
    assert not missing


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported at run time, anywhere in a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            yield node.module or ""
        if not isinstance(node, ast.ExceptHandler):  # what an older Python needs instead
            yield from imported(node)


@pytest.mark.parametrize(("variant", "tools"), [("full", "make, cargo, mvn"), ("java", "make, cargo, mvn, java")])
def test_no_tool_means_one_line_that_names_it(tmp_path: Path, variant: str, tools: str) -> None:
    """A build on a bare machine ends with what to install, without a traceback."""
    done = build_on_a_bare_machine(tmp_path, "--variant", variant, "--arch", host().arch)
    assert done.returncode == 1
    assert re.fullmatch(rf"Error: the layer build needs {tools}: install it .*\n", done.stderr)


def test_no_emulator_is_told_at_once(tmp_path: Path) -> None:
    """Not after the minutes that everything takes which comes before it is run."""
    for tool in ("make", "cargo"):
        (tmp_path / tool).write_text("")
        (tmp_path / tool).chmod(0o755)
    done = build_on_a_bare_machine(tmp_path, "--variant", "core")
    assert done.returncode == 1
    assert re.fullmatch(r"Error: the snapshot for \w+ is written under qemu-\w+-static: install it .*\n", done.stderr)


def test_an_installed_package_builds_as_a_checkout_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it keeps lies in the user's own folder, and its licence where the installer has put it."""
    assert build_module.cache_folder() == project_root() / ".cache/layer"
    installed = tmp_path / "lib/python3.13/site-packages/o2_lambda/layer/build.py"
    monkeypatch.setattr(build_module, "__file__", str(installed))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_module.cache_folder() == tmp_path / ".cache/o2-lambda/layer"
    with skip_unavailable():
        own, *_others = notices.components(Inputs(Store(CACHE)))
    assert own.text == LICENSE.read_text()


@pytest.mark.parametrize("pyodide", PYODIDES[1:], ids=lambda each: each.python)  # the library of the first is no zip
def test_a_compiler_s_start_compiles_nothing_of_its_library(pyodide: Pyodide) -> None:
    """That would take it half of its time, five times whenever a line of the tracer has changed."""
    with skip_unavailable():
        library = bytecode.unpacked(Inputs(Store(CACHE)), pyodide) / bytecode.LIBRARY
    with zipfile.ZipFile(library) as archive:
        for name in ("ast", "encodings/__init__", "json/decoder"):
            assert archive.read(f"{name}.pyc")[4:8] == UNCHECKED_HASH


def build_on_a_bare_machine(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `o2-lambda build` with nothing cached, and no program but those in the folder."""
    (folder / "src").symlink_to(project_root() / "src")
    program = "import sys; sys.argv[0] = 'o2-lambda'; from o2_lambda.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "build", "--target", str(folder), *options],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PATH": str(folder), "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "status"),
    [
        (["help"], {}, 0),
        (["unknown"], {}, 2),
        ([], {"BUILD_TARGETS": "sparc"}, 2),
        ([], {"BUILD_RUNTIMES": "cobol"}, 2),
    ],
)
def test_build_sh_explains_what_it_takes(arguments: list[str], settings: dict[str, str], status: int) -> None:
    """Users of other layers' scripts find the same commands and variables."""
    done = subprocess.run(
        [project_root() / "build.sh", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert "BUILD_TARGETS" in done.stdout + done.stderr or "BUILD_RUNTIMES" in done.stderr


@pytest.mark.parametrize(
    ("targets", "arch"),
    [
        ("all", "all"),
        ("x86_64-unknown-linux-musl,aarch64-unknown-linux-musl", "all"),
        ("aarch64-unknown-linux-musl", "arm64"),
        (" ", "all"),
    ],
)
def test_build_sh_builds_in_one_go(tmp_path: Path, targets: str, arch: str) -> None:
    """Both architectures are built side by side, which takes half the time, and options reach the program."""
    (tmp_path / "build.sh").write_bytes((project_root() / "build.sh").read_bytes())
    (tmp_path / "Makefile").write_text("venv:\n")
    program = tmp_path / ".venv/bin/o2-lambda"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "BUILD_TARGETS": targets, "BUILD_RUNTIMES": "core"}
    command = ["bash", tmp_path / "build.sh", "build", "--inspect"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"build --arch {arch} --variant core --inspect\n"


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (OSError(28, "No space left on device", "target/a.part"), "Error: target/a.part: No space left on device\n"),
        (OSError(28, "No space left on device"), "Error: target: No space left on device\n"),
    ],
)
def test_a_disk_that_does_not_take_the_zips_means_one_line(
    monkeypatch: pytest.MonkeyPatch, trouble: OSError, line: str
) -> None:
    """A full disk or a folder of somebody else's is no bug of ours: no traceback."""

    def build(*_arguments: object, **_options: object) -> None:
        raise trouble

    monkeypatch.setattr("o2_lambda.cli.build.build_layers", build)
    done = CliRunner().invoke(main, ["build"])
    assert (done.exit_code, done.stderr) == (1, line)


def test_nothing_is_started_after_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread's tool is ended by it; none goes on with the next of many, which would take as long as it takes."""
    monkeypatch.setattr("o2_lambda.layer.process._interrupted", threading.Event())
    with pytest.raises(LayerError, match="failed"):
        run(["sh", "-c", "kill -TERM $$"], log=tmp_path / "log")
    run(["touch", tmp_path / "other"], log=tmp_path / "log")
    ended = "import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)"
    with pytest.raises(LayerError, match="failed"):
        run([sys.executable, "-c", ended], log=tmp_path / "log")
    with pytest.raises(LayerError, match="interrupted"):
        run(["touch", tmp_path / "more"], log=tmp_path / "log")
    assert not (tmp_path / "more").exists()


def test_what_surrounds_a_build_does_not_reach_its_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make` around us tells its flags to every make below: CPython's own needs the rules that ours turns off."""
    monkeypatch.setenv("MAKEFLAGS", "--no-builtin-rules")
    monkeypatch.setenv("CFLAGS", "-O0")
    monkeypatch.setenv("HOME", "somewhere")
    log = tmp_path / "log"
    run(["sh", "-c", 'echo "[$MAKEFLAGS$CFLAGS$HOME$OWN]"'], log=log, env={"OWN": "kept"})
    assert "[somewherekept]" in log.read_text()
