"""Frozen as `_frozen_importlib_external`: imports from files. There are none: all modules are built in or frozen in."""


def _install(_bootstrap: object) -> None:
    """Called by the part of the import system that knows built-in and frozen modules; there is nothing to add."""
