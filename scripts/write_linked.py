"""Writes which files of the libraries are linked, so that a build compiles no others.

To be run when a library, the compiler or what the executables are made of changes; `make linked` checks the result.
"""

from __future__ import annotations

from o2_lambda.layer import linked
from o2_lambda.layer.build import project_root
from o2_lambda.layer.linking import Builder
from o2_lambda.layer.store import Store


def main() -> None:
    """Compiles and links everything, and writes."""
    found = Builder(Store(project_root() / ".cache" / "layer"), complete=True).linked()
    linked.LINKED.write_text("".join(f"{name}\n" for name in found))
    print(f"{len(found)} files")


if __name__ == "__main__":
    main()
