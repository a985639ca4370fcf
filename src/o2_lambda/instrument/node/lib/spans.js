'use strict';

// Spans and what they refer to. Plain data with limits; no clock, no dice, no output.

// The numbers of OTLP's SpanKind and StatusCode
const KIND = Object.freeze({ INTERNAL: 1, SERVER: 2, CLIENT: 3, PRODUCER: 4, CONSUMER: 5 });
const STATUS = Object.freeze({ UNSET: 0, OK: 1, ERROR: 2 });

const SAMPLED = 1; // the flag of W3C trace context
const DEFAULT_COUNT = 128;

/** What identifies a span across processes. Ids are hexadecimal; `baggage` is the W3C header, uninterpreted. */
class SpanContext {
  constructor(traceId, spanId, flags, { state = '', remote = false, baggage = '' } = {}) {
    this.traceId = traceId;
    this.spanId = spanId;
    this.flags = flags;
    this.state = state;
    this.remote = remote;
    this.baggage = baggage;
  }

  get sampled() {
    return (this.flags & SAMPLED) !== 0;
  }
}

/** How much a span may hold; beyond it things are dropped and counted. `valueLength` 0: unlimited. */
const DEFAULT_LIMITS = Object.freeze({
  attributes: DEFAULT_COUNT,
  events: DEFAULT_COUNT,
  links: DEFAULT_COUNT,
  eventAttributes: DEFAULT_COUNT,
  linkAttributes: DEFAULT_COUNT,
  valueLength: 0,
});

/**
 * One operation. Times are BigInt nanoseconds since the epoch; `endNs` is 0n until it ends. What is unsampled records
 * nothing. `scopeVersion` is undefined for a scope of the tracer's own. `covers` tells that the span stands for
 * everything below it: no spans of lower layers (a socket's below an HTTP client's) are started under it. `call` is what
 * its requests carry, where they are known by that.
 */
class Span {
  constructor(name, kind, context, parent, startNs, { scope, scopeVersion, limits, onEnd }) {
    this.name = name;
    this.kind = kind;
    this.context = context;
    this.parent = parent;
    this.startNs = startNs;
    this.endNs = 0n;
    this.scope = scope;
    this.scopeVersion = scopeVersion;
    this.covers = false;
    this.call = undefined;
    this.attributes = new Map();
    this.events = [];
    this.links = [];
    this.status = STATUS.UNSET;
    this.statusMessage = '';
    this.droppedAttributes = 0;
    this.droppedEvents = 0;
    this.droppedLinks = 0;
    this.limits = limits;
    this.recording = context.sampled; // until it ends
    this._onEnd = onEnd;
  }

  /** Sets an attribute; undefined and null are no value. */
  set(key, value) {
    if (value === undefined || value === null || !this.recording) return;
    if (this.attributes.size >= this.limits.attributes && !this.attributes.has(key)) this.droppedAttributes += 1;
    else this.attributes.set(key, value);
  }

  setAll(attributes) {
    for (const key of Object.keys(attributes || {})) this.set(key, attributes[key]);
  }

  addEvent(name, attributes, timeNs) {
    if (!this.recording) return;
    if (this.events.length >= this.limits.events) this.droppedEvents += 1;
    else this.events.push({ timeNs, name, ...bounded(attributes, this.limits.eventAttributes) });
  }

  addLink(context, attributes) {
    if (!this.recording) return;
    if (this.links.length >= this.limits.links) this.droppedLinks += 1;
    else this.links.push({ context, ...bounded(attributes, this.limits.linkAttributes) });
  }

  /** The message belongs to an error only; what has been set to OK stays. */
  setStatus(status, message = '') {
    if (!this.recording || this.status === STATUS.OK) return;
    this.status = status;
    this.statusMessage = status === STATUS.ERROR ? message : '';
  }

  /** Ends the span, once, and hands it on when it is sampled. */
  end(timeNs) {
    if (this.endNs !== 0n) return;
    const end = timeNs > this.startNs ? timeNs : this.startNs; // a clock set back makes no negative duration
    this.endNs = end > 0n ? end : 1n;
    this.recording = false;
    if (this.context.sampled) this._onEnd(this);
  }
}

function bounded(attributes, count) {
  const kept = [];
  let dropped = 0;
  for (const [key, value] of entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (kept.length < count) kept.push([key, value]);
    else dropped += 1;
  }
  return { attributes: kept, dropped };
}

/** The pairs of a Map or an object. */
function entries(attributes) {
  return attributes instanceof Map ? attributes : Object.entries(attributes || {});
}

module.exports = { DEFAULT_COUNT, DEFAULT_LIMITS, KIND, SAMPLED, STATUS, Span, SpanContext, entries };
