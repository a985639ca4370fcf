"""The shapes of the server's answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.responses import PlainTextResponse, Response

from o2_lambda.backend.encoding import ACCEPTED_ENCODINGS

if TYPE_CHECKING:
    from o2_lambda.backend.otlp import OtlpBatch

JSON = "application/json"
PROTOBUF = "application/x-protobuf"

OtlpResponse: TypeAlias = ExportTraceServiceResponse | ExportMetricsServiceResponse | ExportLogsServiceResponse


def json_answer(document: object, status: int = 200) -> Response:
    """Return a compact JSON answer."""
    return Response(json.dumps(document, separators=(",", ":"), ensure_ascii=False), status, media_type=JSON)


def error_answer(status: int, message: str) -> Response:
    """Return `{"code":…,"message":…}` with the same HTTP status."""
    return json_answer({"code": status, "message": message}, status)


def ingestion_answer(stream: str, successful: int, failed: int, error: str) -> Response:
    """Return the answer of `_json` and `_multi`: always 200, the counts tell what was stored."""
    status = {"name": stream, "successful": successful, "failed": failed}
    return json_answer({"code": 200, "status": [status | ({"error": error} if error else {})]})


def search_error_answer(code: int, message: str) -> Response:
    """Return a refused search: 400 with the server's own code, such as 20002."""
    return json_answer({"code": code, "message": message}, 400)


def unauthorized_answer() -> Response:
    """Return 401 in plain text."""
    return PlainTextResponse("Unauthorized Access", 401, {"WWW-Authenticate": 'Basic realm="OpenObserve"'})


def unsupported_encoding_answer(message: str) -> Response:
    """Return 415 naming the encodings that would do."""
    return PlainTextResponse(message, 415, {"Accept-Encoding": ", ".join(ACCEPTED_ENCODINGS)})


def logs_answer(batch: OtlpBatch, content_type: str) -> Response:
    """Return the answer of `/v1/logs`: 200 and protobuf always, labelled with the request's own Content-Type."""
    return Response(_response(ExportLogsServiceResponse(), "rejected_log_records", batch), 200, {}, content_type)


def traces_answer(batch: OtlpBatch, *, is_json: bool) -> Response:
    """Return the answer of `/v1/traces`; a partial success is 206 in JSON, 200 in protobuf."""
    if is_json:
        return _json_export_answer("rejectedSpans", batch)
    return Response(_response(ExportTraceServiceResponse(), "rejected_spans", batch), 200, {}, PROTOBUF)


def metrics_answer(batch: OtlpBatch, *, is_json: bool) -> Response:
    """Return the answer of `/v1/metrics`; a partial success is 206 in JSON, 200 in protobuf."""
    if is_json:
        return _json_export_answer("rejectedDataPoints", batch)
    return Response(_response(ExportMetricsServiceResponse(), "rejected_data_points", batch), 200, {}, PROTOBUF)


def _response(response: OtlpResponse, rejected_field: str, batch: OtlpBatch) -> bytes:
    if batch.rejected or batch.error:
        setattr(response.partial_success, rejected_field, batch.rejected)
        response.partial_success.error_message = batch.error
    return response.SerializeToString()


def _json_export_answer(rejected_field: str, batch: OtlpBatch) -> Response:
    if not batch.rejected:
        return json_answer({"partialSuccess": None})
    return json_answer({"partialSuccess": {rejected_field: batch.rejected, "errorMessage": batch.error}}, 206)
