"""Starts the runtime with tracing, in place of `python`: boot.py SCRIPT [ARGUMENT ...] or boot.py -m MODULE [...].

A script has no byte code and is compiled at every start: this one only finds the way to what has.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])
try:
    from o2_tracing import launch  # type: ignore[import-not-found] # beside this file
except Exception as error:
    sys.stderr.write(f"o2-lambda: tracing is off: {error!r}\n")
    __import__("os").execv(sys.executable, [sys.executable, *sys.argv[1:]])
launch.launch()
