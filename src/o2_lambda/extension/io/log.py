"""The extension's own lines: written straight to standard output, which Lambda carries to CloudWatch."""

from __future__ import annotations

from posix import write

from o2_lambda.extension.core.lines import LEVELS, TAG

LINE_LENGTH_MAX = 8 * 1024
_STDOUT = 1
_MASK = "***"
HIDDEN_MAX = 64  # shapes of secrets that came up later; the oldest are no longer good for anything

_state = {"threshold": LEVELS.index("INFO"), "secrets": (), "hidden": ()}


def configure(level: str, secrets: tuple[str, ...]) -> None:
    """Sets the level from which lines are printed, and the texts that must never be."""
    _state["threshold"] = LEVELS.index(level)
    _state["secrets"] = secrets


def hide(secrets: tuple[str, ...]) -> None:
    """Adds texts that must never be printed from here on."""
    fresh = [secret for secret in secrets if secret not in _state["hidden"]]  # type: ignore[operator] # a tuple of str
    _state["hidden"] = (*fresh, *_state["hidden"])[:HIDDEN_MAX]  # type: ignore[misc] # as above


def mask(text: str) -> str:
    """The text without any of the secrets."""
    for secret in (*_state["secrets"], *_state["hidden"]):  # type: ignore[misc] # tuples of str
        text = text.replace(secret, _MASK)
    return text


def emit(level: str, text: str) -> None:
    """Prints one line. With level "" the text stands alone (the ledger's JSON)."""
    if level and LEVELS.index(level) < _state["threshold"]:  # type: ignore[operator] # an int
        return
    line = mask(text).replace("\n", " ")
    line = f"{TAG} {level} {line[:LINE_LENGTH_MAX]}\n" if level else f"{line}\n"  # half a ledger would be none
    try:
        write(_STDOUT, line.encode("utf-8", "replace"))
    except OSError:
        return  # nobody listens; telling that is impossible, and telemetry goes on
