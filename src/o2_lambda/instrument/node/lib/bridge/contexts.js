'use strict';

// The context manager of the OpenTelemetry API, over the flow that the tracer itself follows.

const { SpanContext } = require('../spans.js');
const { Frame } = require('../tracer.js');
const { baggageOf, headerOf, stateOf } = require('./values.js');

// The API makes its keys so, in all of its copies.
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN');
const BAGGAGE = Symbol.for('OpenTelemetry Baggage Key');
const SUPPRESSED = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
const EMITTING = ['on', 'addListener', 'once', 'prependListener', 'prependOnceListener'];
const VALID = /^(?!0+$)(?:[0-9a-f]{16}){1,2}$/;

/** The API's Context: values that never change. */
class Context {
  constructor(values) {
    this._values = values;
  }

  getValue(key) {
    return this._values.get(key);
  }

  setValue(key, value) {
    return new Context(new Map(this._values).set(key, value));
  }

  deleteValue(key) {
    const values = new Map(this._values);
    values.delete(key);
    return new Context(values);
  }
}

const ROOT = new Context(new Map());

/** What takes a span's place in the tracer's flow where the API's context differs from it, or has one of elsewhere. */
class Place {
  constructor(context, covers) {
    this.context = context;
    this.covers = covers;
  }
}

class Manager {
  constructor(tracer) {
    this._tracer = tracer;
    this._views = new WeakMap(); // the API's span over each of ours
    this._contexts = new WeakMap(); // and the context in which that is current
  }

  /** The context of the running code: the one that the function has set, or else one with the tracer's span. */
  active() {
    const frame = this._tracer.flow.getStore();
    if (frame !== undefined && frame.api !== undefined) return frame.api;
    const span = this._tracer.current();
    return span === null ? ROOT : this._around(span);
  }

  with(context, call, thisArg, ...given) {
    return this._tracer.flow.run(new Frame(place(context), context), () => Reflect.apply(call, thisArg, given));
  }

  /** A function that runs in that context, or an emitter whose listeners do. */
  bind(context, target) {
    if (typeof target === 'function') {
      const manager = this;
      const bound = function (...given) {
        return manager.with(context, target, this, ...given);
      };
      Object.defineProperty(bound, 'length', { configurable: true, value: target.length });
      return bound;
    }
    if (target && typeof target.on === 'function') this._bindEmitter(context, target);
    return target;
  }

  enable() {
    return this;
  }

  disable() {
    return this;
  }

  /** The API's span over one of ours, always the same. */
  view(span) {
    let view = this._views.get(span);
    if (view === undefined) {
      view = new (require('./spans.js').ApiSpan)(span, this._tracer);
      this._views.set(span, view);
    }
    return view;
  }

  /** The context of a span that the tracer has made, always the same. */
  _around(span) {
    let context = this._contexts.get(span);
    if (context === undefined) {
      const { baggage } = span.context;
      context = ROOT.setValue(SPAN, this.view(span));
      if (baggage) context = context.setValue(BAGGAGE, baggageOf(baggage));
      this._contexts.set(span, context);
    }
    return context;
  }

  /** A listener is removed by the function that was given: emitters look for that in `listener`, too. */
  _bindEmitter(context, emitter) {
    for (const name of EMITTING) {
      const plain = emitter[name];
      if (typeof plain !== 'function') continue;
      const manager = this;
      emitter[name] = function (event, listener) {
        const bound = manager.bind(context, listener);
        if (typeof listener === 'function') bound.listener = listener;
        return plain.call(this, event, bound);
      };
    }
  }
}

/** Whether the function wants no spans there. */
function suppressed(context) {
  return Boolean(context.getValue(SUPPRESSED));
}

/** What the tracer is to take as the current span in that context; null for none. */
function place(context) {
  const parent = parentIn(context);
  const covers = suppressed(context);
  if (parent === null) return covers ? new Place(new SpanContext('', '', 0), true) : null;
  const { inner } = context.getValue(SPAN);
  if (inner === undefined) return new Place(parent, covers);
  return inner.context === parent && !covers ? inner : new Place(parent, covers || inner.covers);
}

/** The identity of the span in that context, with the context's baggage; null for none. */
function parentIn(context) {
  const span = context.getValue(SPAN);
  if (span === undefined || span === null) return null;
  const baggage = headerOf(context.getValue(BAGGAGE));
  if (span.inner === undefined) return ours(span.spanContext(), baggage);
  const { context: own } = span.inner;
  if (own.baggage === baggage) return own;
  return new SpanContext(own.traceId, own.spanId, own.flags, { state: own.state, remote: own.remote, baggage });
}

/** Ours for the API's SpanContext; null where it identifies nothing. */
function ours(given, baggage = '') {
  if (!given || !VALID.test(given.traceId) || !VALID.test(given.spanId)) return null;
  return new SpanContext(given.traceId, given.spanId, given.traceFlags & 0xff, {
    state: stateOf(given.traceState),
    remote: Boolean(given.isRemote),
    baggage,
  });
}

module.exports = { BAGGAGE, Manager, ROOT, SPAN, ours, parentIn, suppressed };
