'use strict';

// undici, and with it `fetch`, by the events that it publishes.

const channels = require('diagnostics_channel');

const { answered, startHttp } = require('../clients.js');
const { inject } = require('../propagation.js');

const SCOPE = 'o2_lambda.undici';

/** Follows requests; what becomes of one is of interest once there is one. */
function patch(tracer) {
  let spans = null; // by request
  const on = (name, act) => {
    channels.subscribe(`undici:request:${name}`, (message) => {
      try {
        act(message);
      } catch {
        // no trace of this request
      }
    });
  };
  on('create', ({ request }) => {
    const given = headersOf(request);
    const span = startHttp(tracer, SCOPE, request.method, String(request.origin), request.path, (name) => given.get(name));
    if (span === null) return;
    if (spans === null) {
      spans = new WeakMap();
      watch(on, spans, tracer);
    }
    spans.set(request, span);
    inject(span.context, tracer.settings.injects, (name, value) => {
      if (!given.has(name.toLowerCase())) request.addHeader(name, value);
    });
  });
}

function watch(on, spans, tracer) {
  on('headers', ({ request, response }) => {
    const span = spans.get(request);
    if (span === undefined) return;
    answered(span, response.statusCode, (name) => headersOf(response).get(name));
    tracer.end(span);
  });
  on('error', ({ request, error }) => {
    const span = spans.get(request);
    if (span !== undefined) tracer.end(span, error);
  });
}

/** The headers by their lower-case names; undici has a list of names and values, or text in older versions. */
function headersOf({ headers }) {
  const found = new Map();
  if (typeof headers === 'string') {
    for (const line of headers.split('\r\n')) {
      const colon = line.indexOf(':');
      if (colon > 0) found.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
  } else if (Array.isArray(headers)) {
    for (let at = 0; at < headers.length; at += 2) found.set(String(headers[at]).toLowerCase(), String(headers[at + 1]));
  }
  return found;
}

module.exports = { patch };
