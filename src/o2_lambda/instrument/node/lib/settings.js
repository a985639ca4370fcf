'use strict';

// The settings. Most functions set none of them: then nothing is loaded that reads them.

const { DEFAULT_LIMITS } = require('./spans.js');

const VARIABLES = [
  'OTEL_ATTRIBUTE_COUNT_LIMIT', 'OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT', 'OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT',
  'OTEL_LINK_ATTRIBUTE_COUNT_LIMIT', 'OTEL_NODE_DISABLED_INSTRUMENTATIONS', 'OTEL_PROPAGATORS',
  'OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT', 'OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT', 'OTEL_SPAN_EVENT_COUNT_LIMIT',
  'OTEL_SPAN_LINK_COUNT_LIMIT', 'OTEL_TRACES_SAMPLER', 'OTEL_TRACES_SAMPLER_ARG',
];
const DEFAULTS = Object.freeze({
  traces: () => true,
  // What other services may send; only the first two go out, as OpenTelemetry's default has it.
  extracts: ['tracecontext', 'baggage', 'b3', 'xray'],
  injects: ['tracecontext', 'baggage'],
  limits: DEFAULT_LIMITS,
  sampler: (_traceId, parent) => parent === null || parent.sampled, // parentbased_always_on
});

/**
 * What the environment asks for; `concurrent` tells whether several invocations run at a time.
 * @returns {{concurrent: boolean, traces: function(string[]): boolean, extracts: string[], injects: string[],
 *   limits: object, sampler: Function}} `traces` tells whether the instrumentation that has these names is wanted
 */
function read(env, report) {
  const isDefault = VARIABLES.every((name) => !env[name]);
  const chosen = isDefault ? DEFAULTS : require('./environment.js').read(env, DEFAULTS, report);
  return { concurrent: env.AWS_LAMBDA_MAX_CONCURRENCY !== undefined, ...chosen };
}

module.exports = { VARIABLES, read };
