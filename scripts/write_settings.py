"""Writes the generated table of settings into README.md, between its two markers."""

from __future__ import annotations

import re
from pathlib import Path

from o2_lambda.extension.settings import settings_table

README = Path(__file__).resolve().parent.parent / "README.md"
SECTION = re.compile(r"(<!-- settings:begin -->\n).*?(<!-- settings:end -->)", re.DOTALL)


def main() -> None:
    """Replaces the section; exits with one line if README.md has no such section."""
    text, count = SECTION.subn(
        lambda match: f"{match[1]}{settings_table().strip()}\n{match[2]}", README.read_text(encoding="utf-8")
    )
    if count != 1:
        raise SystemExit(
            f"{README.name} needs one <!-- settings:begin --> ... <!-- settings:end --> section, has {count}"
        )
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
