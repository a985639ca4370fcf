"""Starts the runtime with tracing, in place of `python`: boot.py SCRIPT [ARGUMENT ...] or boot.py -m MODULE [...].

The runtime finds `sys.argv`, `sys.path` and `__main__` as it would without this file, which is compiled at every
start and therefore short.
"""

import os
import sys


def _install() -> bool:
    """Installs the tracer; returns whether Python put a script's folder at the front of `sys.path` (not under -P)."""
    here = os.path.dirname(os.path.abspath(__file__))
    with_folder = here in sys.path[:1]
    if not with_folder:
        sys.path.insert(0, here)
    try:
        from o2_tracing import start  # type: ignore[import-not-found] # beside this file

        start.install(os.environ)
    except Exception as error:
        sys.stderr.write(f"o2-lambda: tracing is off: {error!r}\n")
    finally:
        sys.path.remove(here)
    return with_folder


def _run(command: list[str], with_folder: bool) -> None:
    path, folder = os.path, os.getcwd()
    names = sys.modules["__main__"].__dict__
    for name in ("_install", "_run", "os"):
        del names[name]
    names["__doc__"] = None
    target = command[0]
    if target == "-m":
        from runpy import _run_module_as_main  # type: ignore[attr-defined] # what `python -m` calls

        if with_folder:
            sys.path.insert(0, folder)
        sys.argv = command[:1] + command[2:]
        _run_module_as_main(command[1])
        return
    if with_folder:
        sys.path.insert(0, path.dirname(path.realpath(target)))
    sys.argv = command
    names["__file__"] = path.abspath(target)
    with open(target, "rb") as stream:
        code = compile(stream.read(), target, "exec")
    del names["sys"]
    exec(code, names)


_run(sys.argv[1:], _install())
