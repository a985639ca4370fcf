'use strict';

// Spans of the OpenTelemetry API over ours.

const { STATUS, SpanContext } = require('../spans.js');
const { errorDetails } = require('../tracer.js');
const { SPAN, ours, parentIn, suppressed } = require('./contexts.js');
const { traceStateOf } = require('./values.js');

const NS_PER_MS = 1e6;
const NS_PER_S = 1_000_000_000n;
const NS_MAX = 2n ** 63n - 1n;
const SERVER = 1; // the API counts kinds from 0
const ZERO_TRACE = '0'.repeat(32);
const ZERO_SPAN = '0'.repeat(16);

/** What the API's `trace` finds. `foreign` is the provider of the function's own SDK, once there is one. */
class Provider {
  constructor(tracer, manager, foreign) {
    this._made = { tracer, manager, foreign };
  }

  getTracer(name, version, options) {
    return new ApiTracer(this._made, [name, version, options]);
  }

  getDelegate() {
    return this._made.foreign() || this;
  }

  /** As SDKs have it: hands over what has ended, and does not wait. */
  async forceFlush() {
    this._made.tracer.exporter.flush();
  }

  /** The function goes on being traced. */
  async shutdown() {
    await this.forceFlush();
  }
}

class ApiTracer {
  constructor({ tracer, manager, foreign }, given) {
    this._tracer = tracer;
    this._manager = manager;
    this._foreign = foreign;
    this._given = given;
    this._delegate = undefined; // of an SDK that was set up after this tracer was handed out
  }

  startSpan(name, options, context) {
    const { _tracer: tracer } = this;
    if (tracer.aside) return this._theirs().startSpan(name, options, context);
    const wanted = options || {};
    const within = context || this._manager.active();
    const parent = wanted.root ? null : this._parent(wanted.kind, within);
    if (suppressed(within)) return new Remote(parent || new SpanContext(ZERO_TRACE, ZERO_SPAN, 0));
    const span = tracer.start(String(name), {
      kind: (wanted.kind || 0) + 1, // OTLP counts from 1
      scope: String(this._given[0] || ''),
      scopeVersion: String(this._given[1] || ''),
      parent,
      startNs: nanoseconds(wanted.startTime),
    });
    return this._manager.view(span).setAttributes(wanted.attributes).addLinks(wanted.links);
  }

  startActiveSpan(name, ...rest) {
    if (this._tracer.aside) return this._theirs().startActiveSpan(name, ...rest);
    const call = rest.pop();
    const [options, given] = rest;
    const context = given || this._manager.active();
    const span = this.startSpan(name, options, context);
    return this._manager.with(context.setValue(SPAN, span), call, undefined, span);
  }

  /** That in `within`; the invocation for a framework's span of its request, whose headers are those of the event. */
  _parent(kind, within) {
    const found = parentIn(within);
    const { invocation } = this._tracer;
    if (kind !== SERVER || invocation === null) return found;
    const isEvents = found === null || (invocation.parent !== null && invocation.parent.spanId === found.spanId);
    return isEvents ? invocation.context : found;
  }

  _theirs() {
    if (this._delegate === undefined) this._delegate = this._foreign().getTracer(...this._given);
    return this._delegate;
  }
}

/** A span of elsewhere, or one that is not wanted: an identity, and nothing that could be recorded. */
class Remote {
  constructor(context) {
    this._context = context;
    this._shown = undefined;
  }

  spanContext() {
    if (this._shown === undefined) {
      const { traceId, spanId, flags, remote, state } = this._context;
      this._shown = { traceId, spanId, traceFlags: flags };
      if (remote) this._shown.isRemote = true;
      if (state) this._shown.traceState = traceStateOf(state);
    }
    return this._shown;
  }

  setAttribute() {
    return this;
  }

  setAttributes() {
    return this;
  }

  addEvent() {
    return this;
  }

  addLink() {
    return this;
  }

  addLinks() {
    return this;
  }

  setStatus() {
    return this;
  }

  updateName() {
    return this;
  }

  recordException() {}

  end() {}

  isRecording() {
    return false;
  }
}

class ApiSpan extends Remote {
  constructor(inner, tracer) {
    super(inner.context);
    this.inner = inner;
    this._tracer = tracer;
  }

  setAttribute(key, value) {
    this.inner.set(String(key), value);
    return this;
  }

  setAttributes(attributes) {
    this.inner.setAll(attributes);
    return this;
  }

  /** The time may come in the place of the attributes. */
  addEvent(name, attributes, time) {
    const isTime = typeof attributes === 'number' || attributes instanceof Date || Array.isArray(attributes);
    const timeNs = nanoseconds(isTime ? attributes : time) || this._tracer.nowNs();
    this.inner.addEvent(String(name), isTime ? {} : attributes, timeNs);
    return this;
  }

  addLink(link) {
    const context = ours(link && link.context);
    if (context !== null) this.inner.addLink(context, link.attributes);
    return this;
  }

  addLinks(links) {
    for (const link of links || []) this.addLink(link);
    return this;
  }

  setStatus({ code, message } = {}) {
    if (code === STATUS.OK || code === STATUS.ERROR) this.inner.setStatus(code, message === undefined ? '' : String(message));
    return this;
  }

  updateName(name) {
    if (this.inner.recording) this.inner.name = String(name);
    return this;
  }

  /** Whether the span has failed is for `setStatus` to say. */
  recordException(error, time) {
    const details = typeof error === 'string' ? { 'exception.message': error } : errorDetails(error);
    this.inner.addEvent('exception', details, nanoseconds(time) || this._tracer.nowNs());
  }

  end(time) {
    this.inner.end(nanoseconds(time) || this._tracer.nowNs());
  }

  isRecording() {
    return this.inner.recording;
  }
}

/** Nanoseconds since the epoch out of the API's times: [s, ns], a Date, milliseconds of either clock; 0n for none. */
function nanoseconds(time) {
  try {
    if (Array.isArray(time)) return bounded(BigInt(time[0]) * NS_PER_S + BigInt(time[1]));
    let ms = time instanceof Date ? time.getTime() : time;
    if (typeof ms !== 'number') return 0n;
    if (ms <= performance.now() && !(time instanceof Date)) ms += performance.timeOrigin; // of `performance.now()`
    return bounded(BigInt(Math.round(ms * NS_PER_MS)));
  } catch {
    return 0n; // no number
  }
}

function bounded(ns) {
  return ns > 0n && ns <= NS_MAX ? ns : 0n;
}

module.exports = { ApiSpan, Provider, Remote };
