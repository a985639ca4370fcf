"""Entry of the executable: without an argument it is the extension; `--health-check` and its like serve a person."""

from __future__ import annotations

import sys
from posix import _exit

EXTENSION_NAME = "o2-lambda-extension"


def main(argv: list[str]) -> None:
    """Never returns: ends the process with its exit status. `argv` as of `sys.argv`."""
    if len(argv) > 1:
        from o2_lambda.extension import command  # noqa: PLC0415 - not on the way to the first `/next`

        status = command.run(argv[1:])
        sys.stdout.flush()
        _exit(status)
    from o2_lambda.extension import boot  # noqa: PLC0415 - not needed by the other commands

    # The file's own base name is the only one under which Lambda takes us for an external extension.
    boot.run(argv[0].rpartition("/")[2] or EXTENSION_NAME)
    _exit(0)


if __name__ == "__main__":
    main(sys.argv)
