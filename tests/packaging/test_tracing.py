"""The full layer as it ships: a function with its wrapper and its extension, and nothing but what the zip holds."""

from __future__ import annotations

import _imp
import json
import re
import shutil
import subprocess
import sys
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import BackendServer
from o2_lambda.emulator import LambdaConfig, LocalLambda
from o2_lambda.layer.build import INSTRUMENT
from tests.instrument.pythons import interpreters
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

HANDLER = """
def handler(event, context):
    print("hello")
    return {"ok": True}
"""


IMPORTS = """
import importlib.util, json, marshal, sys
import o2_tracing
names = [name for name in json.loads(sys.argv[1]) if name != "o2_tracing"]
assert {*o2_tracing.MODULES} | {name for name in names if name in sys.modules} == {*names}
for name in names:
    assert type(importlib.util.find_spec(name).loader).__name__ == "_Bundle", name
for name, (_package, code) in o2_tracing.MODULES.items():
    assert "/".join(name.split(".")) in marshal.loads(code).co_filename
"""


@pytest.mark.parametrize("interpreter", interpreters().values(), ids=interpreters())
def test_a_cold_start_compiles_nothing(layer: Path, tmp_path: Path, interpreter: str) -> None:
    """All modules come from one file of byte code, which is not even compared with its source."""
    home = layer / "o2/python"
    paths = [path.relative_to(home).with_suffix("") for path in sorted(home.glob("o2_tracing/**/*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    (tmp_path / "program.py").write_text(IMPORTS)
    done = subprocess.run(
        [interpreter, "-Bv", home / "boot.py", tmp_path / "program.py", json.dumps(names)],
        env={"PYTHONPATH": str(home)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = re.findall(r"# code object from '?.*/o2_tracing/(\S+?)'?$", done.stderr, re.MULTILINE)
    assert [name.rpartition(".")[2] for name in loaded] == ["pyc"]
    assert len(names) > 30


def test_byte_code_says_of_which_source_it_is(layer: Path) -> None:
    """By the hash in its head, which no start reads."""
    package = layer / "o2/python/o2_tracing"
    files = sorted(package.rglob("*.pyc"))
    assert [path.name for path in files] == sorted(f"__init__.cpython-3{minor}.pyc" for minor in range(9, 15))
    for path in files:
        head = path.read_bytes()[:16]
        magic, unchecked = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
        assert unchecked == 1
        if not {"cpython-39", "cpython-310"} & set(path.name.split(".")):  # which hash with another function
            assert head[8:] == _imp.source_hash(magic, (package / "__init__.py").read_bytes())


@pytest.mark.parametrize("interpreter", interpreters().values(), ids=interpreters())
def test_a_python_that_it_was_not_made_for_reads_the_sources(layer: Path, tmp_path: Path, interpreter: str) -> None:
    """As a version to come will."""
    shutil.copytree(layer / "o2/python", tmp_path / "o2", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "program.py").write_text("import o2_tracing, sys\nprint(o2_tracing.MODULES, *sys.meta_path[:1])\n")
    done = subprocess.run(
        [interpreter, "-B", tmp_path / "o2/boot.py", tmp_path / "program.py"],
        env={"PYTHONPATH": str(tmp_path / "o2")}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("{} <o2_tracing.hooks.Finder object")


def test_byte_code_is_the_same_from_every_machine() -> None:
    """Before 3.11 a set of constants lies in it in the order that the compiler's own hash function gives."""
    for path in sorted((INSTRUMENT / "python").rglob("*.py")):
        codes = [compile(path.read_text(), path, "exec", optimize=2)]
        while codes:
            constants = codes.pop().co_consts
            assert not [each for each in constants if isinstance(each, frozenset)], path
            codes += [each for each in constants if isinstance(each, CodeType)]


def test_a_function_is_traced_by_setting_the_wrapper_alone(layer: Path, tmp_path: Path) -> None:
    """Logs and a span of the invocation arrive, under one roof, without a line of code."""
    (tmp_path / "app.py").write_text(HANDLER)
    with BackendServer() as backend:
        config = LambdaConfig(
            [sys.executable, "-m", "awslambdaric"],
            handler="app.handler",
            task_root=tmp_path,
            extensions_dir=layer / "extensions",
            environment={
                "AWS_LAMBDA_EXEC_WRAPPER": str(layer / "otel-instrument"),
                "O2_ENDPOINT": backend.url,
                "O2_ORGANIZATION_ID": backend.config.organization,
                "O2_AUTHORIZATION_HEADER": backend.authorization_header,
                "O2_OTLP_PORT": str(free_port()),
            },
        )
        with LocalLambda(config) as function:
            result = function.invoke()
            function.shutdown()
        assert result.json() == {"ok": True}
        (span,) = backend.rows("traces", "default")
        assert span["operation_name"] == "my-function"
        assert span["faas_invocation_id"] == result.request_id
        lines = [row for row in backend.rows("logs", "default") if row["type"] == "function"]
        assert [row["requestid"] for row in lines if row["record"] == "hello\n"] == [result.request_id]
