'use strict';

// OpenTelemetry's packages, put together as its layer for Node.js does it: the same instrumentations, registered before
// and after the provider is there. `tracing_node.py` bundles this as the layer is bundled, and `--import`s the result.

const { propagation, trace } = require('@opentelemetry/api');
const { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } = require('@opentelemetry/core');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { AwsLambdaInstrumentation } = require('@opentelemetry/instrumentation-aws-lambda');
const { AwsInstrumentation } = require('@opentelemetry/instrumentation-aws-sdk');
const { AWSXRayPropagator } = require('@opentelemetry/propagator-aws-xray');
const { awsLambdaDetector } = require('@opentelemetry/resource-detector-aws');
const { detectResources, envDetector, processDetector } = require('@opentelemetry/resources');
const { BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

const DEFAULTS = [
  ['DnsInstrumentation', () => import('@opentelemetry/instrumentation-dns')],
  ['ExpressInstrumentation', () => import('@opentelemetry/instrumentation-express')],
  ['GraphQLInstrumentation', () => import('@opentelemetry/instrumentation-graphql')],
  ['GrpcInstrumentation', () => import('@opentelemetry/instrumentation-grpc')],
  ['HapiInstrumentation', () => import('@opentelemetry/instrumentation-hapi')],
  ['HttpInstrumentation', () => import('@opentelemetry/instrumentation-http')],
  ['IORedisInstrumentation', () => import('@opentelemetry/instrumentation-ioredis')],
  ['KoaInstrumentation', () => import('@opentelemetry/instrumentation-koa')],
  ['MongoDBInstrumentation', () => import('@opentelemetry/instrumentation-mongodb')],
  ['MySQLInstrumentation', () => import('@opentelemetry/instrumentation-mysql')],
  ['NetInstrumentation', () => import('@opentelemetry/instrumentation-net')],
  ['PgInstrumentation', () => import('@opentelemetry/instrumentation-pg')],
  ['RedisInstrumentation', () => import('@opentelemetry/instrumentation-redis')],
];

async function start() {
  const instrumentations = [
    new AwsInstrumentation({ suppressInternalInstrumentation: true }),
    new AwsLambdaInstrumentation({}),
  ];
  for (const [name, load] of DEFAULTS) {
    const exported = await load();
    instrumentations.push(new exported[name]());
  }
  registerInstrumentations({ instrumentations });
  const provider = new NodeTracerProvider({
    resource: detectResources({ detectors: [awsLambdaDetector, envDetector, processDetector] }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  const propagators = [new W3CTraceContextPropagator(), new W3CBaggagePropagator(), new AWSXRayPropagator()];
  provider.register({ propagator: new CompositePropagator({ propagators }) });
  registerInstrumentations({ instrumentations, tracerProvider: trace.getTracerProvider(), propagation });
}

module.exports = { start };
