"""Installs the tracer and becomes the runtime, which finds `sys.argv`, `sys.path` and `__main__` as without it."""

import os
import sys
from gc import freeze


def launch() -> None:
    """Called by boot.py, which has put its folder in front of a `sys.path` where Python may have put it, too."""
    try:
        from . import start

        start.install(os.environ)
    except Exception as error:
        sys.stderr.write(f"o2-lambda: tracing is off: {error!r}\n")
    with_folder = sys.path[0] in sys.path[1:2]  # not under -P: then the script's folder is not on the path either
    del sys.path[: 1 + with_folder]
    freeze()  # all that is here by now stays: each collection while the function starts would look at it again
    _run(sys.argv[1:], with_folder)


def _run(command: list[str], with_folder: bool) -> None:
    names = sys.modules["__main__"].__dict__
    for name in ("launch", "sys"):
        del names[name]
    names["__doc__"] = None
    target = command[0]
    if target == "-m":
        from runpy import _run_module_as_main  # type: ignore[attr-defined] # what `python -m` calls

        if with_folder:
            sys.path.insert(0, os.getcwd())
        sys.argv = command[:1] + command[2:]
        _run_module_as_main(command[1])
        return
    if with_folder:
        sys.path.insert(0, os.path.dirname(os.path.realpath(target)))
    sys.argv = command
    names["__file__"] = os.path.abspath(target)
    with open(target, "rb") as stream:
        code = compile(stream.read(), target, "exec")
    exec(code, names)
