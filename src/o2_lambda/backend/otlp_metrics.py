"""OTLP data points to rows: one stream per metric name, one row per data point.

Histograms and summaries are taken apart the Prometheus way: `<name>_count`, `_sum`, `_min`, `_max` and cumulative
`_bucket` rows with a `le` label. Delta sums stay deltas; `aggregation_temporality` is only a column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from o2_lambda.backend.flatten import LEVELS_UNLIMITED, flatten
from o2_lambda.backend.names import METRICS, StreamKey, format_label_name, format_stream_name
from o2_lambda.backend.otlp import SPAN_ID_BYTES, TRACE_ID_BYTES, OtlpBatch, any_value, attributes, hex_id
from o2_lambda.backend.timestamps import TIMESTAMP, TimestampError, check_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Metric

    from o2_lambda.backend.flatten import Json

DataPoint: TypeAlias = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint

NAME = "__name__"
TYPE = "__type__"
VALUE = "value"
# OTLP's DataPointFlags.NO_RECORDED_VALUE: the series went stale, there is no value to store.
_NO_RECORDED_VALUE = 1
_PROMETHEUS_TYPES = {
    "gauge": "gauge",
    "sum": "counter",
    "histogram": "histogram",
    "exponential_histogram": "exponential_histogram",
    "summary": "summary",
}


def build_metrics_batch(request: ExportMetricsServiceRequest, organization: str, now_us: int) -> OtlpBatch:
    """Return the rows of all data points by stream; those outside the time window are rejected one by one."""
    batch = OtlpBatch()
    for resource_metrics in request.resource_metrics:
        resource = _labels(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            shared = {**resource, **_scope_labels(scope_metrics.scope)}
            for metric in scope_metrics.metrics:
                _add_metric(batch, metric, shared, organization, now_us)
    return batch


def _labels(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    return {format_label_name(pair.key): any_value(pair.value) for pair in pairs}


def _scope_labels(scope: InstrumentationScope) -> dict[str, Json]:
    return {"instrumentation_library_name": scope.name, "instrumentation_library_version": scope.version}


def _add_metric(batch: OtlpBatch, metric: Metric, shared: dict[str, Json], organization: str, now_us: int) -> None:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    base = {**shared, TYPE: _PROMETHEUS_TYPES[kind]}
    if kind in {"sum", "histogram", "exponential_histogram"}:
        base["aggregation_temporality"] = AggregationTemporality.Name(data.aggregation_temporality)
    if kind == "sum":
        base["is_monotonic"] = "true" if data.is_monotonic else "false"
    name = format_stream_name(metric.name)
    for point in data.data_points:
        try:
            check_window(point.time_unix_nano // 1000, now_us)
        except TimestampError as error:
            batch.reject(str(error))
            continue
        members = {**base, **_point_members(point)}
        for suffix, value_members in _values(point):
            stream = name + suffix
            row = flatten({**members, **value_members, NAME: stream}, LEVELS_UNLIMITED)
            if VALUE in row:
                batch.add(StreamKey(organization, METRICS, stream), row)


def _point_members(point: DataPoint) -> dict[str, Json]:
    no_value = point.flags & _NO_RECORDED_VALUE
    members: dict[str, Json] = {
        **_labels(point.attributes),
        TIMESTAMP: point.time_unix_nano // 1000,
        "start_time": str(point.start_time_unix_nano),
        "flag": "DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK" if no_value else "DATA_POINT_FLAGS_DO_NOT_USE",
    }
    if not isinstance(point, SummaryDataPoint):
        members["exemplars"] = [_exemplar(exemplar) for exemplar in point.exemplars]
    return members


def _exemplar(exemplar: Exemplar) -> dict[str, Json]:
    return {
        **attributes(exemplar.filtered_attributes),
        VALUE: exemplar.as_int if exemplar.WhichOneof("value") == "as_int" else exemplar.as_double,
        TIMESTAMP: exemplar.time_unix_nano // 1000,
        "trace_id": hex_id(exemplar.trace_id, TRACE_ID_BYTES),
        "span_id": hex_id(exemplar.span_id, SPAN_ID_BYTES),
    }


def _values(point: DataPoint) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield (suffix of the stream name, value and its extra labels) for each row of one data point."""
    if isinstance(point, NumberDataPoint):
        kind = point.WhichOneof("value")
        if kind is not None and not point.flags & _NO_RECORDED_VALUE:
            yield "", {VALUE: float(getattr(point, kind))}
        return
    yield "_count", {VALUE: float(point.count)}
    if isinstance(point, SummaryDataPoint):
        yield "_sum", {VALUE: point.sum}
        for quantile in point.quantile_values:
            yield "", {VALUE: quantile.value, "quantile": _number_text(quantile.quantile)}
        return
    for statistic in ("sum", "min", "max"):
        if point.HasField(statistic):
            yield f"_{statistic}", {VALUE: getattr(point, statistic)}
    bounds = _explicit_bounds(point) if isinstance(point, HistogramDataPoint) else _exponential_bounds(point)
    cumulative = 0
    for upper_bound, count in bounds:
        cumulative += count
        yield "_bucket", {VALUE: float(cumulative), "le": _number_text(upper_bound)}


def _explicit_bounds(point: HistogramDataPoint) -> list[tuple[float, int]]:
    upper_bounds = [*point.explicit_bounds, float("inf")]
    return list(zip(upper_bounds, point.bucket_counts, strict=False))


def _exponential_bounds(point: ExponentialHistogramDataPoint) -> list[tuple[float, int]]:
    """Return (upper bound, count) from the most negative bucket over zero to the most positive."""
    scale, negative, positive = point.scale, point.negative, point.positive
    # Bucket i holds (base^i, base^(i+1)], its mirror image in the negative range [-base^(i+1), -base^i).
    below = [(-_power(scale, negative.offset + index), count) for index, count in enumerate(negative.bucket_counts)]
    above = [(_power(scale, positive.offset + index + 1), count) for index, count in enumerate(positive.bucket_counts)]
    return [*reversed(below), (point.zero_threshold, point.zero_count), *above]


def _power(scale: int, exponent: int) -> float:
    """Return base^exponent, where base is 2^(2^-scale)."""
    try:
        return float(2.0 ** (exponent * 2.0**-scale))
    except OverflowError:
        return float("inf")


def _number_text(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)
