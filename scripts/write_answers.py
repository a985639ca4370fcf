"""Writes what CPython's configure finds out about musl and Linux, so that a build need not ask for it.

To be run when CPython, the compiler or its flags change; `make answers` checks the result.
"""

from __future__ import annotations

from o2_lambda.layer import cpython
from o2_lambda.layer.build import project_root
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.store import Store


def main() -> None:
    """Asks and writes."""
    store = Store(project_root() / ".cache" / "layer")
    asked = cpython.configured(store, Inputs(store), asking=True)
    answers = cpython.answers_of((asked / "config.log").read_text())
    cpython.KNOWN_ANSWERS.write_text("".join(f"{name}={value}\n" for name, value in answers.items()))
    print(f"{len(answers)} answers")


if __name__ == "__main__":
    main()
