'use strict';

// What all HTTP client patches share: the attributes of a call and of its answer.

const { STATUS } = require('./spans.js');

const CLIENT_ERROR = 400; // and above: an error for a client
const CALL = 'amz-sdk-invocation-id'; // the header by which all requests of a call of the AWS SDK are known
const DEFAULT_PORTS = { 'http:': 80, 'https:': 443 };

/**
 * Starts the span of an HTTP request; null where there is nothing to trace. `origin` is `scheme://host[:port]`, `call` the
 * request's `CALL` header, if any.
 */
function startHttp(tracer, scope, method, origin, path, call) {
  const caller = tracer.calls.get(call);
  const span = caller === undefined ? tracer.startClient(method, scope) : null;
  if (span === null) {
    const covering = caller || tracer.current();
    // The client of an API learns its endpoint while it makes a request.
    if (covering !== null && covering.attributes.has('rpc.system')) setServer(covering, origin);
    return null;
  }
  const { redact } = require('./urls.js');
  span.set('http.request.method', method);
  span.set('url.full', redact(origin + path));
  setServer(span, origin);
  return span;
}

function setServer(span, origin) {
  const url = new URL(origin);
  span.set('server.address', url.hostname);
  span.set('server.port', Number(url.port) || DEFAULT_PORTS[url.protocol]);
}

/** Notes the status of the answer. */
function answered(span, status) {
  if (!Number.isInteger(status)) return;
  span.set('http.response.status_code', status);
  if (status < CLIENT_ERROR) return;
  span.set('error.type', String(status));
  span.setStatus(STATUS.ERROR);
}

module.exports = { CALL, answered, startHttp };
