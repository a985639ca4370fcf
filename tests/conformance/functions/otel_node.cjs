"use strict";
// A function that builds what its event describes with the OpenTelemetry SDK, and exports it as OTLP in JSON.
//
// It exports to every target of the event, and returns what the SDK made up: ids, times, and each exporter's verdict.

const api = require("@opentelemetry/api");
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-http");
const { OTLPMetricExporter } = require("@opentelemetry/exporter-metrics-otlp-http");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-http");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { AggregationType, MeterProvider, MetricReader } = require("@opentelemetry/sdk-metrics");
const { InMemorySpanExporter, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

const RECEIVER = `http://localhost:${process.env.O2_OTLP_PORT ?? "4318"}`;
const BUILDERS = { traces: buildSpans, metrics: buildMetrics, logs: buildLogs };

exports.handler = async (event) => {
  const [Exporter, items, made] = await BUILDERS[event.signal](event.items, resourceFromAttributes(event.resource));
  const verdicts = [];
  for (const target of [RECEIVER, ...(event.witnesses ?? [])]) {
    const exporter = new Exporter({
      url: `${target}/v1/${event.signal}`,
      compression: event.compression,
      timeoutMillis: 10_000,
    });
    const result = await new Promise((resolve) => exporter.export(items, resolve));
    verdicts.push(result.code === 0 ? "SUCCESS" : String(result.error));
    await exporter.shutdown();
  }
  return { verdicts, made };
};

const nanoseconds = ([seconds, nanos]) => (BigInt(seconds) * 1_000_000_000n + BigInt(nanos)).toString();

async function buildSpans(spans, resource) {
  const memory = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(memory)] });
  const tracer = provider.getTracer("shop", "1.2.3");
  for (const described of spans) buildSpan(tracer, described, api.ROOT_CONTEXT);
  await provider.forceFlush();
  const finished = memory.getFinishedSpans();
  const made = finished.map((span) => ({
    name: span.name,
    trace_id: span.spanContext().traceId,
    span_id: span.spanContext().spanId,
    parent: span.parentSpanContext?.spanId ?? null,
    start: nanoseconds(span.startTime),
    end: nanoseconds(span.endTime),
  }));
  return [OTLPTraceExporter, finished, made];
}

function buildSpan(tracer, described, context) {
  const links = (described.links ?? []).map((link) => ({
    context: { traceId: link.trace_id, spanId: link.span_id, traceFlags: 1 },
    attributes: link.attributes,
  }));
  const options = { kind: api.SpanKind[described.kind], attributes: described.attributes, links };
  const span = tracer.startSpan(described.name, options, context);
  for (const happened of described.events ?? []) span.addEvent(happened.name, happened.attributes);
  if (described.status) span.setStatus({ code: api.SpanStatusCode[described.status], message: described.message });
  for (const child of described.children ?? []) buildSpan(tracer, child, api.trace.setSpan(context, span));
  span.end();
}

class OnceReader extends MetricReader {
  async onForceFlush() {}
  async onShutdown() {}
}

async function buildMetrics(metrics, resource) {
  const reader = new OnceReader();
  const views = [
    { instrumentName: "*.exponential", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } },
  ];
  const meter = new MeterProvider({ resource, readers: [reader], views }).getMeter("shop", "1.2.3");
  const create = {
    counter: (...about) => meter.createCounter(...about),
    up_down_counter: (...about) => meter.createUpDownCounter(...about),
    histogram: (...about) => meter.createHistogram(...about),
    gauge: (...about) => meter.createGauge(...about),
  };
  for (const { kind, name, unit, description, points } of metrics) {
    const instrument = create[kind](name, { unit, description });
    for (const { value, attributes } of points) {
      if (kind === "histogram" || kind === "gauge") instrument.record(value, attributes);
      else instrument.add(value, attributes);
    }
  }
  const { resourceMetrics } = await reader.collect();
  return [OTLPMetricExporter, resourceMetrics, []];
}

async function buildLogs(logs, resource) {
  const memory = new InMemoryLogRecordExporter();
  const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter: memory })] });
  const logger = provider.getLogger("shop", "1.2.3");
  for (const { time_ms: timestamp, severity, level, body, attributes } of logs)
    logger.emit({ timestamp, severityNumber: severity, severityText: level, body, attributes });
  await provider.forceFlush();
  return [OTLPLogExporter, memory.getFinishedLogRecords(), []];
}
