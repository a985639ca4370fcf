"""What `attach` did to a function, remembered so that `detach` can undo exactly that.

The record is one environment variable of the function, and not a tag, because
  - it is written by the same UpdateFunctionConfiguration as the change itself: there is no moment, and no failure, in
    which one is there without the other, and RevisionId guards both;
  - whatever replaces the configuration (a stack update, a console edit) takes the record along with what it tells of;
  - previous values may be secrets, and the environment is where they were, while tags are open to every reader;
  - it needs no permission beyond the one to update the function.
The price is its share of the 4 KB environment: names are listed without quotes, since Lambda measures escaped JSON.

Form: words separated by spaces. `NAME`: the variable was added. `NAME=old`: it was replaced, `old` percent-encoded.
`:layer`: the layer was added. `:layer=arn`: it was upgraded from a version that `attach` had not put there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, unquote

VARIABLE = "O2_LAMBDA_ATTACHED"
_LAYER = ":layer"  # no variable can have this name


@dataclass(frozen=True)
class Record:
    """`variables`: name -> value before, None if there was none. `layer`: ARN before, "" if none, None if untouched."""

    variables: dict[str, str | None] = field(default_factory=dict)
    layer: str | None = None

    def encode(self) -> str:
        """The variable's value; "" for a record of nothing."""
        words = []
        if self.layer is not None:
            words.append(f"{_LAYER}={self.layer}" if self.layer else _LAYER)
        for name, before in sorted(self.variables.items()):
            words.append(name if before is None else f"{name}={quote(before, safe='/:+,@')}")
        return " ".join(words)


def decode(text: str) -> Record:
    """The record that a variable's value holds."""
    variables: dict[str, str | None] = {}
    layer: str | None = None
    for word in text.split():
        name, replaced, before = word.partition("=")
        if name == _LAYER:
            layer = before
        else:
            variables[name] = unquote(before) if replaced else None
    return Record(variables, layer)
