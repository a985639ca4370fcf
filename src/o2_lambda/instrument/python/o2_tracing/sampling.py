"""Samplers, by the names of OTEL_TRACES_SAMPLER. A sampler answers (trace id, parent) with yes or no."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from .spans import SpanContext

    Sampler = Callable[[bytes, Optional[SpanContext]], bool]

DEFAULT = "parentbased_always_on"


def sampler(name: str, argument: str) -> Sampler:
    """The sampler of that name; `argument` is the ratio, 1.0 when it is empty. Raises ValueError."""
    prefix = "parentbased_"
    based = name.startswith(prefix)
    root = _root(name[len(prefix) :] if based else name, argument)
    if based:
        return lambda trace_id, parent: parent.sampled if parent is not None else root(trace_id, None)
    return root


def _root(name: str, argument: str) -> Sampler:
    if name == "always_on":
        return lambda _trace_id, _parent: True
    if name == "always_off":
        return lambda _trace_id, _parent: False
    if name == "traceidratio":
        bound = _ratio(argument)
        # The lower 64 bits of the id, as OpenTelemetry's own SDK for Python takes them: both decide alike.
        return lambda trace_id, _parent: int.from_bytes(trace_id[8:], "big") < bound
    raise ValueError(f"OTEL_TRACES_SAMPLER is {name}, not one of always_on, always_off, traceidratio, parentbased_*")


def _ratio(argument: str) -> int:
    try:
        ratio = float(argument or "1")
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {argument}, not a number from 0 to 1")
    return round(ratio * (1 << 64))
