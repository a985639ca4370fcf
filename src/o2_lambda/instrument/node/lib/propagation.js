'use strict';

// Trace context in headers: W3C trace context and baggage, B3 (one header or several), X-Ray.

const { SAMPLED, SpanContext } = require('./spans.js');

const TRACE_ID = /^[0-9a-f]{32}$/;
const SPAN_ID = /^[0-9a-f]{16}$/;
const ZEROS = /^0+$/;
const VISIBLE = /^[\x20-\x7e]*$/;
const STATE_CHARS_MAX = 512; // W3C asks to carry at least so many
const BAGGAGE_CHARS_MAX = 8192; // W3C's limit
const XRAY_HEADER = 'x-amzn-trace-id';
const FIELDS = Object.freeze([
  'traceparent', 'tracestate', 'baggage', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-sampled', 'x-b3-flags',
  XRAY_HEADER,
]);
const HEADERS = new Set(FIELDS);

/** The headers that matter here, by their lower-case names, out of whatever an event holds as headers. */
function pick(headers) {
  const found = {};
  if (headers === null || typeof headers !== 'object') return found;
  for (const name of Object.keys(headers)) {
    const lower = name.toLowerCase();
    if (!HEADERS.has(lower)) continue;
    const value = headers[name];
    const first = Array.isArray(value) ? value[0] : value;
    if (typeof first === 'string') found[lower] = first;
  }
  return found;
}

/** The remote parent in `headers` (lower-case names), by the first of `propagators` that finds one, or null. */
function extract(headers, propagators) {
  if (Object.keys(headers).length === 0) return null;
  for (const name of propagators) {
    const reader = READERS[name];
    const context = reader ? reader(headers) : null;
    if (context !== null) {
      context.baggage = baggage(headers, propagators);
      return context;
    }
  }
  return null;
}

/** The baggage in `headers`, which may come without a trace. */
function baggage(headers, propagators) {
  return propagators.includes('baggage') ? clean(headers.baggage || '', BAGGAGE_CHARS_MAX) : '';
}

/** Calls `put(name, value)` for each header that tells the other side about `context`. */
function inject(context, propagators, put) {
  const { traceId, spanId } = context;
  const sampled = context.sampled ? '1' : '0';
  for (const name of propagators) {
    switch (name) {
      case 'tracecontext':
        put('traceparent', `00-${traceId}-${spanId}-${(context.flags & 0xff).toString(16).padStart(2, '0')}`);
        if (context.state) put('tracestate', context.state);
        break;
      case 'baggage':
        if (context.baggage) put('baggage', context.baggage);
        break;
      case 'b3':
        put('b3', `${traceId}-${spanId}-${sampled}`);
        break;
      case 'b3multi':
        put('X-B3-TraceId', traceId);
        put('X-B3-SpanId', spanId);
        put('X-B3-Sampled', sampled);
        break;
      case 'xray':
        put('X-Amzn-Trace-Id', formatXray(context));
        break;
      default:
    }
  }
}

/** The X-Ray header for `context`. */
function formatXray({ traceId, spanId, sampled }) {
  return `Root=1-${traceId.slice(0, 8)}-${traceId.slice(8)};Parent=${spanId};Sampled=${sampled ? 1 : 0}`;
}

/**
 * The context in an X-Ray header, sampled whatever the header says: X-Ray's sampling is about X-Ray.
 *
 * Lambda and its callers set `Sampled=0` wherever active tracing is off, which is no wish to have no traces. A header
 * without a parent (API Gateway's, by default) names a trace, but no span to be a child of: null.
 */
function parseXray(value) {
  const parts = new Map(value.split(';').map((part) => part.trim().split('=')));
  const root = /^1-(.*)$/.exec(parts.get('Root') || '');
  return root === null ? null : newContext(root[1].replace('-', ''), parts.get('Parent') || '', SAMPLED);
}

function newContext(traceId, spanId, flags, state = '') {
  if (!TRACE_ID.test(traceId) || !SPAN_ID.test(spanId) || ZEROS.test(traceId) || ZEROS.test(spanId)) return null;
  return new SpanContext(traceId, spanId, flags, { state, remote: true });
}

/** The value where it may become a header again: a line break in it would break the function's own request. */
function clean(value, length) {
  const text = value.trim();
  return text.length <= length && VISIBLE.test(text) ? text : '';
}

function tracecontext(headers) {
  const match = /^([0-9a-f]{2})-([^-]*)-([^-]*)-([0-9a-f]{2})(-.*)?$/.exec((headers.traceparent || '').trim());
  if (match === null || match[1] === 'ff' || (match[1] === '00' && match[5] !== undefined)) return null;
  return newContext(match[2], match[3], parseInt(match[4], 16), clean(headers.tracestate || '', STATE_CHARS_MAX));
}

function b3(headers) {
  const parts = (headers.b3 || '').trim().toLowerCase().split('-');
  return parts.length < 2 ? b3Multi(headers) : b3Context(parts[0], parts[1], parts[2] || '');
}

function b3Multi(headers) {
  const sampled = headers['x-b3-flags'] === '1' ? '1' : headers['x-b3-sampled'] || '';
  return b3Context((headers['x-b3-traceid'] || '').toLowerCase(), (headers['x-b3-spanid'] || '').toLowerCase(), sampled);
}

function b3Context(traceId, spanId, sampled) {
  // Without a decision the receiver decides: sampled, as everywhere here where nobody said no.
  const no = sampled === '0' || sampled === 'false';
  return newContext(traceId ? traceId.padStart(32, '0') : '', spanId, no ? 0 : SAMPLED);
}

function xray(headers) {
  return headers[XRAY_HEADER] ? parseXray(headers[XRAY_HEADER]) : null;
}

const READERS = Object.assign(Object.create(null), { tracecontext, b3, b3multi: b3Multi, xray });

module.exports = { FIELDS, baggage, extract, formatXray, inject, parseXray, pick };
