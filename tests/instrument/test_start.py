"""The tracer in a fresh process of every Python at hand: what it loads, and that the program cannot tell."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import o2_lambda
from tests.instrument.pythons import interpreters

HOME = Path(o2_lambda.__file__).parent / "instrument" / "python"
PYTHONS = list(interpreters().values())
NAMES = list(interpreters())
# C modules, and the one Python module that annotations need.
MODULES_ALLOWED = {"_socket", "_struct", "_contextvars", "atexit", "gc", "__future__"}

REPORT = """\
import json, sys
names = sorted(name for name in globals() if name != "names")
print(json.dumps([sys.argv, sys.path, names, __name__, __file__ if "__file__" in globals() else None, __doc__]))
"""
STAND_IN = '''\
"""A runtime client that does with a handler what AWS's does, as far as the tracer can see."""
import importlib, json, sys, traceback

def _get_handler(name):
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)

class Context:
    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:orders"
    function_name = "orders"
    client_context = None

def run(handler):
    try:
        function = _get_handler(handler)
    except BaseException:
        return [traceback.format_exc()]
    results = []
    for event in ({}, {"fail": True}, {"deep": True}, {"Records": 3, "requestContext": {"http": []}}):
        try:
            results.append(function(event, Context()))
        except BaseException:
            results.append(traceback.format_exc())
    return results
'''
MAIN = "import sys\nfrom awslambdaric import bootstrap\nimport json\nprint(json.dumps(bootstrap.run(sys.argv[1])))\n"
FUNCTION = """\
def handler(event, context):
    if event.get("fail"):
        raise ValueError("no\\u00e9")
    if event.get("deep"):
        try:
            int("x")
        except ValueError as cause:
            raise KeyError("y") from cause
    return {"ok": True}

def takes_one(event):
    return 1
"""


def run(interpreter: str, *arguments: str, traced: bool = True, cwd: Path, **variables: str) -> str:
    """Standard output of a program, started as the wrapper starts it."""
    boot = [str(HOME / "boot.py")] if traced else []
    environment = {"PATH": "/usr/bin:/bin", "O2_OTLP_PORT": "9", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(
        [interpreter, *boot, *arguments],
        env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("interpreter", PYTHONS, ids=NAMES)
def test_only_cheap_modules_are_loaded(interpreter: str, tmp_path: Path) -> None:
    """No logging, typing, json, re, http: they would cost more than everything the tracer does."""
    (tmp_path / "p.py").write_text("import sys, json\nprint(json.dumps(sorted(sys.modules)))\n")
    (tmp_path / "first.py").write_text(
        "import sys\nbefore = sorted(sys.modules)\nimport json\nprint(json.dumps(before))\n"
    )
    bare = set(json.loads(run(interpreter, "first.py", traced=False, cwd=tmp_path)))
    ours = set(json.loads(run(interpreter, "first.py", cwd=tmp_path))) - bare
    own = {name for name in ours if name.partition(".")[0] == "o2_tracing"}
    assert ours - own <= MODULES_ALLOWED
    assert "o2_tracing.exporter" in own
    assert not {name for name in own if "patches" in name or name.endswith(("bridge", "events", "resource"))}


@pytest.mark.parametrize("interpreter", PYTHONS, ids=NAMES)
def test_the_collector_never_looks_at_the_tracer(interpreter: str, tmp_path: Path) -> None:
    """What tracing adds is no work for a collection, of which a function that imports much has many at its start."""
    (tmp_path / "count.py").write_text("import gc\nprint(len(gc.get_objects()))\n")
    assert int(run(interpreter, "count.py", cwd=tmp_path)) < int(
        run(interpreter, "count.py", traced=False, cwd=tmp_path)
    )


@pytest.mark.parametrize("arguments", [("script.py", "a", "b c"), ("-m", "package", "a")], ids=["script", "module"])
@pytest.mark.parametrize("interpreter", PYTHONS, ids=NAMES)
def test_the_program_sees_what_it_would_without(interpreter: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """sys.argv, sys.path, __main__'s names: nothing tells that boot.py was there."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "script.py").write_text(REPORT)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(REPORT)
    seen = json.loads(run(interpreter, *arguments, cwd=tmp_path))
    expected = json.loads(run(interpreter, *arguments, traced=False, cwd=tmp_path))
    assert seen == expected


def answers(interpreter: str, folder: Path, handler: str, *, traced: bool, **variables: str) -> list[Any]:
    (folder / "awslambdaric").mkdir(exist_ok=True)
    (folder / "awslambdaric" / "__init__.py").touch()
    (folder / "awslambdaric" / "bootstrap.py").write_text(STAND_IN)
    (folder / "main.py").write_text(MAIN)
    (folder / "app.py").write_text(FUNCTION)
    (folder / "broken.py").write_text("import json\njson.nothing\n")
    (folder / "syntax.py").write_text("def x(:\n")
    found: list[Any] = json.loads(run(interpreter, "main.py", handler, traced=traced, cwd=folder, **variables))
    return found


@pytest.mark.parametrize("handler", ["app.handler", "app.takes_one", "app.missing", "broken.x", "syntax.x", "none.x"])
@pytest.mark.parametrize("interpreter", PYTHONS, ids=NAMES)
def test_results_and_tracebacks_are_the_same(interpreter: str, handler: str, tmp_path: Path) -> None:
    """To the last line of the traceback: errors of the handler, of the call itself, and of the import."""
    bare = answers(interpreter, tmp_path, handler, traced=False)
    assert answers(interpreter, tmp_path, handler, traced=True) == bare
    assert len(bare) == (4 if handler in {"app.handler", "app.takes_one"} else 1)


@pytest.mark.parametrize("interpreter", PYTHONS, ids=NAMES)
def test_a_handler_that_exits_is_traced_and_exits(interpreter: str, tmp_path: Path) -> None:
    """With its own status; the connection that is open then is closed in time."""
    answers(interpreter, tmp_path, "app.handler", traced=False)  # lays out the files
    (tmp_path / "app.py").write_text("def handler(event, context):\n    raise SystemExit(3)\n")
    (tmp_path / "main.py").write_text(
        "from awslambdaric import bootstrap\nbootstrap._get_handler('app.handler')({}, bootstrap.Context())\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.settimeout(30)
        environment = {"O2_OTLP_PORT": str(receiver.getsockname()[1])}
        done = subprocess.run(
            [interpreter, str(HOME / "boot.py"), "main.py"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (3, "")
        connection, _address = receiver.accept()
        with connection:
            assert b"SystemExit" in connection.recv(65536)


def test_a_runtime_client_without_the_hook_runs_untraced(tmp_path: Path) -> None:
    """The hook is private to AWS; where it is gone, one line says so and the function runs."""
    (tmp_path / "awslambdaric").mkdir()
    (tmp_path / "awslambdaric" / "__init__.py").touch()
    (tmp_path / "awslambdaric" / "bootstrap.py").write_text("def run():\n    return 'ran'\n")
    (tmp_path / "main.py").write_text("from awslambdaric import bootstrap\nprint(bootstrap.run())\n")
    done = subprocess.run(
        [sys.executable, str(HOME / "boot.py"), "main.py"],
        env={}, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "ran\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("o2-lambda: awslambdaric.bootstrap is not traced: ")


def test_a_tracer_that_cannot_be_loaded_stops_nothing(tmp_path: Path) -> None:
    """A damaged layer costs one line."""
    (tmp_path / "boot.py").write_bytes((HOME / "boot.py").read_bytes())
    (tmp_path / "script.py").write_text("print('ran')\n")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "boot.py"), str(tmp_path / "script.py")],
        env={}, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "ran\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("o2-lambda: tracing is off: ")


def test_the_version_is_the_projects() -> None:
    """The layer's tracer reports the version it was built from; it cannot import it."""
    from o2_lambda.instrument.python.o2_tracing import VERSION

    assert o2_lambda.__version__ == VERSION
