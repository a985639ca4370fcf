'use strict';

// The propagator of the OpenTelemetry API: the formats that OTEL_PROPAGATORS names, or the tracer's own choice.

const { FIELDS, extract, inject, pick } = require('../propagation.js');
const { BAGGAGE, SPAN, parentIn } = require('./contexts.js');
const { Remote } = require('./spans.js');
const { baggageOf, headerOf } = require('./values.js');

class Propagator {
  constructor(tracer) {
    this._settings = tracer.settings;
  }

  inject(context, carrier, setter) {
    const { injects } = this._settings;
    const found = parentIn(context);
    if (found !== null) {
      inject(found, injects, (name, value) => setter.set(carrier, name, value));
      return;
    }
    const baggage = headerOf(context.getValue(BAGGAGE));
    if (baggage && injects.includes('baggage')) setter.set(carrier, 'baggage', baggage);
  }

  extract(context, carrier, getter) {
    const { extracts } = this._settings;
    const given = {};
    for (const name of FIELDS) given[name] = getter.get(carrier, name);
    const headers = pick(given);
    const found = extract(headers, extracts);
    const made = found === null ? context : context.setValue(SPAN, new Remote(found));
    const { baggage } = headers;
    return baggage && extracts.includes('baggage') ? made.setValue(BAGGAGE, baggageOf(baggage)) : made;
  }

  fields() {
    return [...FIELDS];
  }
}

module.exports = { Propagator };
