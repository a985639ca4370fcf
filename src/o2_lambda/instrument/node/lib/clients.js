'use strict';

// What all HTTP client patches share: the attributes of a call and of its answer.

const { STATUS } = require('./spans.js');

const CLIENT_ERROR = 400; // and above: an error for a client
const DEFAULT_PORTS = { 'http:': 80, 'https:': 443 };

/** Starts the span of an HTTP request; null where there is nothing to trace. `origin` is `scheme://host[:port]`. */
function startHttp(tracer, scope, method, origin, path) {
  const span = tracer.startClient(method, scope);
  if (span === null) return null;
  const { redact } = require('./urls.js');
  const url = new URL(origin);
  span.set('http.request.method', method);
  span.set('url.full', redact(origin + path));
  span.set('server.address', url.hostname);
  span.set('server.port', Number(url.port) || DEFAULT_PORTS[url.protocol]);
  return span;
}

/** Notes the status of the answer. */
function answered(span, status) {
  if (!Number.isInteger(status)) return;
  span.set('http.response.status_code', status);
  if (status < CLIENT_ERROR) return;
  span.set('error.type', String(status));
  span.setStatus(STATUS.ERROR);
}

module.exports = { answered, startHttp };
