'use strict';

// Reads the settings in OpenTelemetry's environment variables, where one is set. A bad value costs one line on stderr,
// and the default holds.

const sampling = require('./sampling.js');
const { DEFAULT_COUNT } = require('./spans.js');

const PROPAGATORS = new Set(['tracecontext', 'baggage', 'b3', 'b3multi', 'xray']);
const XRAY_LAMBDA = 'xray-lambda'; // its own source, `_X_AMZN_TRACE_ID`, is a link here and never a parent
const ALL = '*'; // of the instrumentations

/** What the environment asks for, beside `defaults`. */
function read(env, defaults, report) {
  const [extracts, injects] = propagators(env, defaults, report);
  const disabled = new Set(names(env.OTEL_NODE_DISABLED_INSTRUMENTATIONS));
  return {
    traces: (known) => !disabled.has(ALL) && !known.some((name) => disabled.has(name)),
    extracts,
    injects,
    limits: limits(env, report),
    sampler: readSampler(env, report),
  };
}

function names(value) {
  if (!value) return [];
  return value
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter(Boolean);
}

function readSampler(env, report) {
  const name = (env.OTEL_TRACES_SAMPLER || '').trim().toLowerCase() || sampling.DEFAULT;
  try {
    return sampling.sampler(name, (env.OTEL_TRACES_SAMPLER_ARG || '').trim());
  } catch (error) {
    report(`${error.message}; every trace is recorded`);
    return sampling.sampler(sampling.DEFAULT, '');
  }
}

function propagators(env, { extracts, injects }, report) {
  const aliased = names(env.OTEL_PROPAGATORS).map((name) => (name === XRAY_LAMBDA ? 'xray' : name));
  const named = [...new Set(aliased)];
  if (named.length === 0) return [extracts, injects];
  const unknown = named.filter((name) => !PROPAGATORS.has(name) && name !== 'none');
  if (unknown.length > 0) {
    report(`OTEL_PROPAGATORS names ${unknown.join(', ')}, which is not one of ${[...PROPAGATORS].sort().join(', ')}`);
  }
  const known = named.filter((name) => PROPAGATORS.has(name));
  return [known, known];
}

function limits(env, report) {
  const number = (fallback, ...variables) => {
    for (const name of variables) {
      const value = whole(env[name]);
      if (value !== undefined) return value;
      if (env[name]) report(`${name} is ${env[name]}, not a number of 0 or more; the default holds`);
    }
    return fallback;
  };
  const count = number(DEFAULT_COUNT, 'OTEL_ATTRIBUTE_COUNT_LIMIT');
  return {
    attributes: number(count, 'OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT'),
    events: number(DEFAULT_COUNT, 'OTEL_SPAN_EVENT_COUNT_LIMIT'),
    links: number(DEFAULT_COUNT, 'OTEL_SPAN_LINK_COUNT_LIMIT'),
    eventAttributes: number(count, 'OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT'),
    linkAttributes: number(count, 'OTEL_LINK_ATTRIBUTE_COUNT_LIMIT'),
    valueLength: number(0, 'OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT', 'OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT'),
  };
}

function whole(value) {
  if (!value) return undefined;
  const text = value.trim();
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

module.exports = { read };
