"""`redis`: clients, clusters and their pipelines, blocking and asynchronous. Commands without their arguments."""

from __future__ import annotations

from ..databases import plain, start_query
from .calls import trace_calls

SCOPE = "o2_lambda.redis"
SYSTEM = "redis"
PORT = 6379
COMMANDS_MAX = 100  # of a pipeline, in the text of its query


def patch(module, tracer) -> None:
    """Replaces what sends: `execute_command` of the clients, `execute` of the pipelines."""
    asynchronous = ".asyncio." in module.__name__

    def command(instance, arguments, _options):
        return _start(tracer, instance, [arguments])

    def pipeline(instance, _arguments, _options):
        queued = [entry.args if hasattr(entry, "args") else entry[0] for entry in _queue(instance)]
        span = _start(tracer, instance, queued)
        if span is not None:
            span.name = " ".join([_word(each) for each in queued[:COMMANDS_MAX]]) or SYSTEM
            span.set("db.operation.name", "PIPELINE")
            span.set("db.operation.batch.size", len(queued))
        return span

    for name in ("Redis", "RedisCluster"):
        if hasattr(module, name):
            trace_calls(getattr(module, name), "execute_command", command, tracer, asynchronous=asynchronous)
    for name in ("Pipeline", "ClusterPipeline"):
        if hasattr(module, name):
            owner = getattr(module, name)
            trace_calls(owner, "immediate_execute_command", command, tracer, asynchronous=asynchronous)
            trace_calls(owner, "execute", pipeline, tracer, asynchronous=asynchronous)


def _start(tracer, instance, commands):
    pool = getattr(instance, "connection_pool", None)  # a cluster has one for each node
    known = pool.connection_kwargs if pool is not None else {}
    operation = _word(commands[0]) if commands else ""
    span = start_query(
        tracer, SCOPE, operation or SYSTEM,
        system=SYSTEM,
        operation=operation,
        namespace=str(known.get("db") or 0) if pool is not None else None,
        text="\n".join([" ".join([_word(each), *["?"] * (len(each) - 1)]) for each in commands[:COMMANDS_MAX]]),
        host=known.get("path") or known.get("host"),
        port=known.get("port", PORT) if known.get("host") else None,
    )  # fmt: skip
    if span is not None and pool is not None:
        span.set("network.transport", "unix" if known.get("path") else "tcp")
    return span


def _word(command):
    """Its first one, which may be bytes."""
    return plain(command[0]) or str(command[0])


def _queue(pipeline):
    """The commands that wait in a pipeline, wherever its version keeps them."""
    strategy = getattr(pipeline, "_execution_strategy", None)
    for owner, name in (
        (strategy, "command_queue"), (strategy, "_command_queue"),
        (pipeline, "command_stack"), (pipeline, "_command_stack"),
    ):  # fmt: skip
        if hasattr(owner, name):
            return getattr(owner, name)
    return []
