'use strict';

// Starts spans, knows the current one, hands what has ended to the exporter.

const { AsyncLocalStorage } = require('async_hooks');

const { KIND, SAMPLED, STATUS, Span, SpanContext } = require('./spans.js');

const MESSAGE_CHARS_MAX = 16 * 1024; // of an exception, which may quote all that it was given
const STACK_CHARS_MAX = 16 * 1024; // of a stack trace
const DRIFT_NS_MAX = 2_000_000n; // what the clocks may differ before a new anchor: a frozen sandbox's clock stands still
const NS_PER_MS = 1_000_000n;
const HEX = '0123456789abcdef';

/** What runs at a place of the function's asynchronous flow: a span, and a context of the OpenTelemetry API, if any. */
class Frame {
  constructor(span, api) {
    this.span = span;
    this.api = api;
  }
}

/**
 * One per thread. `invocation` is the span of the running invocation, where only one runs: the parent of what has lost
 * its own context, as in a pool of connections that calls back from elsewhere.
 */
class Tracer {
  constructor(settings, openExporter) {
    this.settings = settings;
    this._openExporter = openExporter;
    this._exporter = null;
    this.flow = new AsyncLocalStorage();
    this.invocation = null;
    this.follows = settings.concurrent; // the flow, whatever that costs the function; also where it uses the API
    this.calls = new Map(); // spans of calls that are not followed, by what their requests carry
    this.aside = false; // the function has an OpenTelemetry SDK of its own
    this._anchorNs = 0n;
    this._ended = (span) => this._add(span);
  }

  /** What sends spans; made when it is needed first. */
  get exporter() {
    if (this._exporter === null) this._exporter = this._openExporter();
    return this._exporter;
  }

  /** Opens the connection over which spans will be sent. Never throws. */
  connect() {
    try {
      if (!this.aside) this.exporter.connect();
    } catch (problem) {
      report(`traces cannot be sent: ${problem}`);
    }
  }

  /** At the exit of the process. Never throws. */
  close() {
    try {
      if (this._exporter !== null) this._exporter.close();
    } catch (problem) {
      report(`the last traces are lost: ${problem}`);
    }
  }

  /** The span that the running code belongs to; null outside of an invocation. */
  current() {
    if (this.aside) return null;
    const frame = this.flow.getStore();
    return frame === undefined || frame.span === null ? this.invocation : frame.span;
  }

  /** Nanoseconds since the epoch: steps as fine as the monotonic clock's, and not far from the wall's. */
  nowNs() {
    const steady = process.hrtime.bigint();
    const wall = BigInt(Date.now()) * NS_PER_MS;
    const drift = wall - steady - this._anchorNs;
    if (drift > DRIFT_NS_MAX || drift < -DRIFT_NS_MAX) this._anchorNs = wall - steady;
    return this._anchorNs + steady;
  }

  /** Starts a span below the context `parent`; with null a new trace begins. */
  start(name, { kind = KIND.INTERNAL, scope, scopeVersion, parent = null, startNs = 0n }) {
    const traceId = parent === null ? randomHex(4) : parent.traceId;
    const flags = this.settings.sampler(traceId, parent) ? SAMPLED : 0;
    const rest = parent === null ? {} : { state: parent.state, baggage: parent.baggage };
    const context = new SpanContext(traceId, randomHex(2), flags, rest);
    return new Span(name, kind, context, parent, startNs || this.nowNs(), {
      scope,
      scopeVersion,
      limits: this.settings.limits,
      onEnd: this._ended,
    });
  }

  /** Starts the span of an outgoing call; null outside of an invocation and below a span that covers it. */
  startClient(name, scope, kind = KIND.CLIENT) {
    const parent = this.current();
    if (parent === null || parent.covers) return null;
    const span = this.start(name, { kind, scope, parent: parent.context });
    span.covers = true;
    return span;
  }

  /** Calls `call` with `span` as the current one. */
  within(span, call) {
    return span === null ? call() : this.flow.run(new Frame(span, undefined), call);
  }

  /** Adds the error as an event and marks the span as failed. Whoever gets the error sees no frames of ours. */
  recordError(span, error) {
    require('./stacks.js').dropFrames(error);
    if (!span.recording) return;
    const details = errorDetails(error);
    span.set('error.type', details['exception.type']);
    span.addEvent('exception', details, this.nowNs());
    span.setStatus(STATUS.ERROR, details['exception.message']);
  }

  /** Ends a span; never throws. */
  end(span, error) {
    if (span === null) return;
    try {
      if (error !== undefined) this.recordError(span, error);
      span.end(this.nowNs());
    } catch (problem) {
      report(`a span was lost: ${problem}`);
    }
  }

  _add(span) {
    try {
      this.exporter.add(span);
    } catch (problem) {
      report(`a span was lost: ${problem}`);
    }
  }
}

/** The attributes of an exception event. Anything may be thrown. */
function errorDetails(error) {
  const details = { 'exception.type': 'unknown', 'exception.message': '', 'exception.stacktrace': undefined };
  try {
    if (error === null || typeof error !== 'object') {
      details['exception.type'] = typeof error;
      details['exception.message'] = String(error).slice(0, MESSAGE_CHARS_MAX);
    } else {
      details['exception.type'] = text(error.code) || text(error.name) || 'Error';
      details['exception.message'] = text(error.message).slice(0, MESSAGE_CHARS_MAX);
      details['exception.stacktrace'] = text(error.stack).slice(0, STACK_CHARS_MAX) || undefined;
    }
  } catch {
    // An error whose own members throw: what was read until then.
  }
  return details;
}

function text(value) {
  return typeof value === 'string' ? value : '';
}

/** Random words of 32 bits in hexadecimal, not all zero. */
function randomHex(words) {
  let digits = '';
  let bits = 0;
  for (let count = 0; count < words; count += 1) {
    const word = (Math.random() * 0x100000000) >>> 0;
    bits |= word;
    for (let shift = 28; shift >= 0; shift -= 4) digits += HEX[(word >>> shift) & 0xf];
  }
  return bits === 0 ? randomHex(words) : digits;
}

/** One line for the function's log, past the runtime's console. */
function report(line) {
  try {
    process.stderr.write(`o2-lambda: ${line}\n`);
  } catch {
    // stderr closed by the function
  }
}

module.exports = { Frame, Tracer, errorDetails, report };
