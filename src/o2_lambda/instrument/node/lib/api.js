'use strict';

// Where every copy of the OpenTelemetry API looks for what serves it: a property of the global object, by its symbol.
//
// What serves it is loaded when one looks.

const KEY = Symbol.for('opentelemetry.js.api.1');

/** Offers the tracer to the API, unless something was there before us, such as an SDK that came by NODE_OPTIONS. */
function offer(tracer) {
  const before = globalThis[KEY];
  if (before !== undefined) {
    tracer.aside = before.trace !== undefined;
    return;
  }
  let registry = null;
  const open = () => {
    if (registry === null) registry = new (require('./bridge/registry.js').Registry)(tracer);
    return registry;
  };
  Object.defineProperty(globalThis, KEY, {
    configurable: true,
    get: () => open().found(),
    set: (value) => open().hold(value),
  });
}

module.exports = { offer };
