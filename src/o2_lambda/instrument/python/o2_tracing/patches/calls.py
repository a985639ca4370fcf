"""A span around the calls of a method: what the patches of databases are made of."""

from __future__ import annotations

from functools import wraps  # every library that is patched has loaded it

from ..databases import note_error
from ..frames import drop_frame


def trace_calls(owner, name, start, tracer, *, asynchronous=False) -> None:
    """Replaces the method `name` of the class `owner`, where it has one.

    `start(instance, arguments, options)` makes the span, or returns None; whatever it raises costs the span alone.
    """
    plain = owner.__dict__.get(name)
    if plain is None:
        return

    def begin(instance, arguments, options):
        try:
            return start(instance, arguments, options)
        except Exception:
            return None

    @wraps(plain)
    def call(self, *arguments, **options):
        span = begin(self, arguments, options)
        token = tracer.enter(span)
        try:
            result = plain(self, *arguments, **options)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            note_error(span, error)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        tracer.end(span)
        return result

    @wraps(plain)
    async def call_async(self, *arguments, **options):
        span = begin(self, arguments, options)
        token = tracer.enter(span)
        try:
            result = await plain(self, *arguments, **options)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            note_error(span, error)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        tracer.end(span)
        return result

    setattr(owner, name, call_async if asynchronous else call)
