// OpenTelemetry's own SDK and instrumentations, as its layer sets them up; loaded before the function of `stores`.
const { propagation, trace } = require('@opentelemetry/api');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { AwsInstrumentation } = require('@opentelemetry/instrumentation-aws-sdk');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

const INSTRUMENTED = {
  'aws-lambda': 'AwsLambdaInstrumentation',
  http: 'HttpInstrumentation',
  ioredis: 'IORedisInstrumentation',
  mongodb: 'MongoDBInstrumentation',
  mysql2: 'MySQL2Instrumentation',
  pg: 'PgInstrumentation',
  redis: 'RedisInstrumentation',
  undici: 'UndiciInstrumentation',
};

const instrumentations = [new AwsInstrumentation({ suppressInternalInstrumentation: true })];
for (const [name, exported] of Object.entries(INSTRUMENTED)) {
  instrumentations.push(new (require(`@opentelemetry/instrumentation-${name}`)[exported])());
}
registerInstrumentations({ instrumentations });
new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] }).register();
registerInstrumentations({ instrumentations, tracerProvider: trace.getTracerProvider(), propagation });
