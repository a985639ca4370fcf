"""The endpoints that read and manage: `_license`, `_search`, streams and their settings, the latest traces."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from starlette.routing import Route

from o2_lambda.backend.answers import error_answer, json_answer, search_error_answer
from o2_lambda.backend.names import LOGS, STREAM_TYPES, TRACES, StreamKey, format_stream_name
from o2_lambda.backend.sql import quote
from o2_lambda.backend.store import Query, QueryResult, SearchError, Store, StreamInfo

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

# Hits of a search that asks for no size, and of one that asks for all (-1).
SIZE_DEFAULT = 10
SIZE_MAX = 1000


class _RequestError(ValueError):
    """The request is refused with 400; the message names the member."""


class Management:
    """Handlers bound to a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settings: dict[StreamKey, dict[str, object]] = {}

    def routes(self) -> list[Route]:
        """Return the routes below `/api`."""
        return [
            Route("/{org}/_license", self._license, methods=["GET"]),
            Route("/{org}/_search", self._search, methods=["POST"]),
            Route("/{org}/streams", self._list_streams, methods=["GET"]),
            Route("/{org}/streams/{stream}", self._create_stream, methods=["POST"]),
            Route("/{org}/streams/{stream}/settings", self._update_settings, methods=["PUT"]),
            Route("/{org}/{stream}/traces/latest", self._latest_traces, methods=["GET"]),
        ]

    async def _license(self, request: Request) -> Response:  # noqa: ARG002 - any ingestion credential will do
        return json_answer({"status": "active"})

    async def _search(self, request: Request) -> Response:
        started = time.monotonic()
        stream_type = request.query_params.get("type", LOGS)
        try:
            query = _parse_search(await request.body(), request.path_params["org"], stream_type)
            result = await asyncio.to_thread(self._store.query, query)
        except _RequestError as error:
            return error_answer(400, str(error))
        except SearchError as error:
            return search_error_answer(error.code, error.message)
        return json_answer(_page(result, query, started))

    async def _list_streams(self, request: Request) -> Response:
        wanted = request.query_params.get("type")
        with_schema = request.query_params.get("fetchSchema") == "true"
        streams = await asyncio.to_thread(self._store.streams, request.path_params["org"])
        listed = [
            self._describe(info, with_schema=with_schema) for info in streams if wanted in {None, info.key.stream_type}
        ]
        return json_answer({"list": listed, "total": len(listed)})

    def _describe(self, info: StreamInfo, *, with_schema: bool) -> dict[str, object]:
        described: dict[str, object] = {
            "name": info.key.name,
            "storage_type": "disk",
            "stream_type": info.key.stream_type,
            "stats": {"doc_time_min": info.first_us, "doc_time_max": info.last_us, "doc_num": info.rows},
            "settings": self._settings.get(info.key, {}),
        }
        if with_schema:
            described["schema"] = [{"name": name, "type": sql_type} for name, sql_type in info.columns.items()]
        return described

    async def _create_stream(self, request: Request) -> Response:
        return await self._keep_settings(request, "Stream created")

    async def _update_settings(self, request: Request) -> Response:
        return await self._keep_settings(request, "")

    async def _keep_settings(self, request: Request, message: str) -> Response:
        try:
            document = _parse_object(await request.body())
        except _RequestError as error:
            return error_answer(400, str(error))
        stream_type = request.query_params.get("type", LOGS)
        if stream_type not in STREAM_TYPES:
            return error_answer(400, f"unknown stream type `{stream_type}`")
        key = StreamKey(request.path_params["org"], stream_type, format_stream_name(request.path_params["stream"]))
        settings = document.get("settings", document)
        self._settings[key] = settings if isinstance(settings, dict) else {}
        return json_answer({"code": 200, "message": message})

    async def _latest_traces(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            query = _parse_latest(request)
            result = await asyncio.to_thread(self._store.query, query)
        except _RequestError as error:
            return error_answer(400, str(error))
        except SearchError as error:
            return search_error_answer(error.code, error.message)
        return json_answer(_page(QueryResult([_trace_hit(hit) for hit in result.hits], result.total), query, started))


def _page(result: QueryResult, query: Query, started: float) -> dict[str, object]:
    return {
        "took": int((time.monotonic() - started) * 1000),
        "hits": result.hits,
        "total": result.total,
        "from": query.offset,
        "size": query.limit,
        "scan_size": 0,
        "is_partial": False,
    }


def _parse_object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _RequestError(f"Invalid JSON: {error}") from error
    if not isinstance(document, dict):
        raise _RequestError("Invalid JSON: an object is expected")
    return document


def _parse_search(body: bytes, organization: str, stream_type: str) -> Query:
    members = _parse_object(body).get("query")
    if not isinstance(members, dict):
        raise _RequestError("missing field `query`")
    sql = members.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise _RequestError("missing field `sql`")
    if stream_type not in STREAM_TYPES:
        raise _RequestError(f"unknown stream type `{stream_type}`")
    range_us = (_integer(members, "start_time"), _integer(members, "end_time"))
    return _query(sql, organization, stream_type, range_us, members)


def _parse_latest(request: Request) -> Query:
    parameters: dict[str, object] = {
        name: int(value) if value.lstrip("-").isdecimal() else value for name, value in request.query_params.items()
    }
    range_us = (_integer(parameters, "start_time"), _integer(parameters, "end_time"))
    condition = str(parameters.get("filter") or "true")
    stream = quote(format_stream_name(request.path_params["stream"]))
    sql = (
        "SELECT trace_id, min(start_time) AS start_time, max(end_time) AS end_time, "  # noqa: S608 - SELECT only, checked
        "count(*) AS span_count, count(*) FILTER (span_status = 'ERROR') AS error_count, "
        "arg_min(operation_name, start_time) AS operation_name, arg_min(service_name, start_time) AS first_service, "
        "list(DISTINCT service_name) AS services "
        f"FROM {stream} WHERE {condition} GROUP BY trace_id ORDER BY min(start_time) DESC"
    )
    return _query(sql, request.path_params["org"], TRACES, range_us, parameters)


def _trace_hit(hit: dict[str, object]) -> dict[str, object]:
    start_ns, end_ns = hit["start_time"], hit["end_time"]
    assert isinstance(start_ns, int)
    assert isinstance(end_ns, int)
    services = hit["services"]
    assert isinstance(services, list)
    return {
        "trace_id": hit["trace_id"],
        "start_time": start_ns,
        "end_time": end_ns,
        "duration": (end_ns - start_ns) // 1000,
        "spans": [hit["span_count"], hit["error_count"]],
        "service_name": [{"service_name": name} for name in sorted(services)],
        "first_event": {"operation_name": hit["operation_name"], "service_name": hit["first_service"]},
    }


def _query(sql: str, organization: str, stream_type: str, range_us: tuple[int, int], page: dict[str, object]) -> Query:
    if range_us[0] > range_us[1]:
        raise _RequestError("`start_time` must not be after `end_time`")
    offset = _integer(page, "from", 0)
    size = _integer(page, "size", SIZE_DEFAULT)
    return Query(sql, organization, stream_type, range_us, max(0, offset), size if size >= 0 else SIZE_MAX)


def _integer(members: dict[str, object], name: str, default: int | None = None) -> int:
    value = members.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _RequestError(f"missing field `{name}`" if value is None else f"`{name}` must be an integer")
    return value
