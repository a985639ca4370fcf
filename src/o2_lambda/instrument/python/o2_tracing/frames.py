"""Takes a wrapper's own frame out of a traceback, so that an error looks as it would without the wrapper."""

from __future__ import annotations

import sys


def drop_frame(error: BaseException) -> None:
    """Removes the caller's frame from the traceback of the error that the caller is handling.

    The caller must go on with a bare `raise`: that keeps the traceback as it is, where `raise error` adds the frame
    again. Call it in the `except` block, directly, and once.
    """
    here = error.__traceback__
    if here is None:
        return
    error.__traceback__ = here.tb_next
    if sys.version_info < (3, 11):
        _replace_handled(error)


def _replace_handled(error: BaseException) -> None:
    """Python 3.9 and 3.10 keep the traceback of the error being handled apart from the error."""
    try:
        from ctypes import py_object, pythonapi  # only when an error passes, and only there

        set_handled = pythonapi.PyErr_SetExcInfo
        set_handled.argtypes = [py_object, py_object, py_object]
        set_handled.restype = None
        handled = (type(error), error, error.__traceback__)
        for item in handled:
            pythonapi.Py_IncRef(py_object(item))  # the call takes the references over
        set_handled(*handled)
    except Exception:  # a Python without ctypes: one more frame is shown
        return
