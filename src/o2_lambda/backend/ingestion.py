"""The endpoints that take telemetry in: `_json`, `_multi`, `/v1/logs`, `/v1/traces`, `/v1/metrics`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from o2_lambda.backend.answers import (
    JSON,
    PROTOBUF,
    error_answer,
    ingestion_answer,
    logs_answer,
    metrics_answer,
    traces_answer,
    unsupported_encoding_answer,
)
from o2_lambda.backend.encoding import BodyTooLargeError, CorruptBodyError, UnsupportedEncodingError, decode_body
from o2_lambda.backend.names import DEFAULT_STREAM, LOGS, StreamKey, format_stream_name
from o2_lambda.backend.otlp import OtlpBatch, OtlpError, parse_request
from o2_lambda.backend.otlp_logs import build_logs_batch
from o2_lambda.backend.otlp_metrics import build_metrics_batch
from o2_lambda.backend.otlp_traces import build_trace_batch
from o2_lambda.backend.records import (
    Batch,
    PayloadError,
    PoisonRecordError,
    build_batch,
    check_columns,
    parse_json,
    parse_ndjson,
)
from o2_lambda.backend.store import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from o2_lambda.backend.config import BackendConfig
    from o2_lambda.backend.flatten import Json, Row
    from o2_lambda.backend.gate import Exchange


class Ingestion:
    """Handlers bound to a store. Parsing and inserting run in a thread; the answer waits for the insert."""

    def __init__(self, config: BackendConfig, store: Store) -> None:
        self._config = config
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes below `/api`."""
        return [
            Route("/{org}/{stream}/_json", self._handle_json, methods=["POST"]),
            Route("/{org}/{stream}/_multi", self._handle_multi, methods=["POST"]),
            Route("/{org}/v1/logs", self._handle_logs, methods=["POST"]),
            Route("/{org}/v1/traces", self._handle_traces, methods=["POST"]),
            Route("/{org}/v1/metrics", self._handle_metrics, methods=["POST"]),
        ]

    async def _handle_json(self, request: Request) -> Response:
        return await self._run(request, lambda body: self._ingest_records(request, body, parse_json))

    async def _handle_multi(self, request: Request) -> Response:
        return await self._run(request, lambda body: self._ingest_records(request, body, parse_ndjson))

    async def _handle_logs(self, request: Request) -> Response:
        return await self._run(request, lambda body: self._ingest_logs(request, body))

    async def _handle_traces(self, request: Request) -> Response:
        return await self._run(request, lambda body: self._ingest_traces(request, body))

    async def _handle_metrics(self, request: Request) -> Response:
        return await self._run(request, lambda body: self._ingest_metrics(request, body))

    async def _run(self, request: Request, ingest: Callable[[bytes], Response]) -> Response:
        """Read the body, then decode and ingest it in a thread; refusals become answers."""
        exchange: Exchange = request.state.exchange
        bytes_max = self._config.body_bytes_max
        if exchange.fault.body_bytes_max is not None:
            bytes_max = min(bytes_max, exchange.fault.body_bytes_max)

        def decode_and_ingest(raw: bytes) -> Response:
            body = decode_body(raw, request.headers.get("content-encoding", ""), bytes_max)
            exchange.record.decoded_bytes = len(body)
            return ingest(body)

        try:
            return await asyncio.to_thread(decode_and_ingest, await _read_body(request, bytes_max))
        except BodyTooLargeError as error:
            return error_answer(413, str(error))
        except UnsupportedEncodingError as error:
            return unsupported_encoding_answer(str(error))
        except (CorruptBodyError, PayloadError, OtlpError) as error:
            return error_answer(400, str(error))
        except (PoisonRecordError, ClientDisconnect):
            await exchange.drop()
            return Response(status_code=500)

    def _ingest_records(self, request: Request, body: bytes, parse: Callable[[bytes], list[Json]]) -> Response:
        exchange: Exchange = request.state.exchange
        stream = format_stream_name(request.path_params["stream"])
        if not stream.strip("_"):
            return error_answer(400, "Stream name is empty")
        records = parse(body)
        exchange.record.records = len(records)
        batch = build_batch(records, self._config.now_us())
        self._refuse_some(batch, exchange)
        if exchange.fault.silent_loss:
            return ingestion_answer(stream, 0, 0, "")
        try:
            self._insert(StreamKey(request.path_params["org"], LOGS, stream), batch.rows)
        except StoreError:
            # What the real server does with a schema or column-limit error: the records are lost and not counted.
            return ingestion_answer(stream, 0, 0, "")
        return ingestion_answer(stream, len(batch.rows), batch.failed, batch.error)

    def _insert(self, key: StreamKey, rows: list[Row]) -> None:
        check_columns(rows, self._config.columns_max)
        if rows:
            self._store.insert(key, rows)

    def _refuse_some(self, batch: Batch, exchange: Exchange) -> None:
        refused = min(exchange.fault.failed_records, len(batch.rows))
        if refused:
            del batch.rows[:refused]
            batch.failed += refused
            batch.error = exchange.fault.failed_error

    def _ingest_logs(self, request: Request, body: bytes) -> Response:
        content_type = request.headers.get("content-type", "")
        if content_type not in {JSON, PROTOBUF}:
            return error_answer(400, f"Content-Type must be exactly {PROTOBUF} or {JSON}, got `{content_type}`")
        message = parse_request(body, ExportLogsServiceRequest(), is_json=content_type == JSON)
        stream = request.headers.get("stream-name", DEFAULT_STREAM)
        batch = build_logs_batch(message, request.path_params["org"], stream, self._config.now_us())
        try:
            self._store_batch(request, batch)
        except StoreError as error:
            batch.error = str(error)
        return logs_answer(batch, content_type)

    def _ingest_traces(self, request: Request, body: bytes) -> Response:
        is_json = _is_json(request)
        message = parse_request(body, ExportTraceServiceRequest(), is_json=is_json)
        organization = request.headers.get("organization", request.path_params["org"])
        stream = request.headers.get("stream-name", DEFAULT_STREAM)
        batch = build_trace_batch(message, organization, stream, self._config.now_us())
        try:
            self._store_batch(request, batch)
        except StoreError as error:
            return error_answer(400, f"error while writing trace data: {error}")
        return traces_answer(batch, is_json=is_json)

    def _ingest_metrics(self, request: Request, body: bytes) -> Response:
        is_json = _is_json(request)
        message = parse_request(body, ExportMetricsServiceRequest(), is_json=is_json)
        batch = build_metrics_batch(message, request.path_params["org"], self._config.now_us())
        try:
            self._store_batch(request, batch)
        except StoreError as error:
            return error_answer(500, f"error while writing metrics data: {error}")
        return metrics_answer(batch, is_json=is_json)

    def _store_batch(self, request: Request, batch: OtlpBatch) -> None:
        """Store every stream's rows, minus those a fault refuses. Raises StoreError."""
        exchange: Exchange = request.state.exchange
        exchange.record.records = batch.rejected + sum(map(len, batch.rows.values()))
        to_refuse = exchange.fault.failed_records
        for key, rows in batch.rows.items():
            refused, kept = rows[:to_refuse], rows[to_refuse:]
            to_refuse -= len(refused)
            for _ in refused:
                batch.reject(exchange.fault.failed_error)
            if not exchange.fault.silent_loss:
                self._insert(key, kept)


async def _read_body(request: Request, bytes_max: int) -> bytes:
    """Return the body as sent. Raises BodyTooLargeError as soon as it is over the limit."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            raise BodyTooLargeError(f"the body exceeds {bytes_max} bytes")
    return b"".join(parts)


def _is_json(request: Request) -> bool:
    """Tell JSON (matched by prefix) from protobuf; anything else is refused. Raises OtlpError."""
    content_type = request.headers.get("content-type", "")
    if content_type.startswith(JSON):
        return True
    if content_type.startswith(PROTOBUF):
        return False
    raise OtlpError(f"Content-Type must be {PROTOBUF} or {JSON}, got `{content_type}`")
