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
    const span = startHttp(tracer, SCOPE, request.method, String(request.origin), request.path);
    if (span === null) return;
    if (spans === null) {
      spans = new WeakMap();
      watch(on, spans, tracer);
    }
    spans.set(request, span);
    const given = givenNames(request.headers);
    inject(span.context, tracer.settings.injects, (name, value) => {
      if (!given.has(name.toLowerCase())) request.addHeader(name, value);
    });
  });
}

function watch(on, spans, tracer) {
  on('headers', ({ request, response }) => {
    const span = spans.get(request);
    if (span === undefined) return;
    answered(span, response.statusCode);
    tracer.end(span);
  });
  on('error', ({ request, error }) => {
    const span = spans.get(request);
    if (span !== undefined) tracer.end(span, error);
  });
}

/** The names of the headers, which are a list of names and values, or text in older versions. */
function givenNames(headers) {
  const words = typeof headers === 'string' ? headers.split('\r\n').map((line) => line.split(':')[0]) : headers || [];
  return new Set(words.map((word) => String(word).toLowerCase()));
}

module.exports = { patch };
