'use strict';

// What all HTTP client patches share: the attributes of a call and of its answer.

const { STATUS } = require('./spans.js');
const { redact } = require('./urls.js');

const CLIENT_ERROR = 400; // and above: an error for a client
const CALL = 'amz-sdk-invocation-id'; // the header by which all requests of a call of the AWS SDK are known
const VERSION_2 = 'aws-sdk-nodejs/'; // the AWS SDK's, in `user-agent`: its requests carry no id
const DEFAULT_PORTS = { 'http:': 80, 'https:': 443 };
let server = { origin: '', address: '', port: 0 }; // of the last request: a function has few

/**
 * Starts the span of an HTTP request; null where there is nothing to trace. `origin` is `scheme://host[:port]`, `header`
 * gives the request's headers by their lower-case names.
 */
function startHttp(tracer, scope, method, origin, path, header) {
  const call = header(CALL);
  const caller = tracer.calls.get(call);
  const span = caller === undefined ? tracer.startClient(method, scope) : null;
  if (span === null) {
    const covering = caller || tracer.current();
    // The client of an API learns its endpoint while it makes a request.
    if (covering !== null && covering.attributes.has('rpc.system')) setServer(covering, origin);
    return null;
  }
  span.set('http.request.method', method);
  span.set('url.full', redact(origin + path));
  setServer(span, origin);
  if (call !== undefined || String(header('user-agent')).startsWith(VERSION_2)) {
    describeAws(span, tracer, { method, origin, path, header });
  }
  return span;
}

function describeAws(span, tracer, request) {
  if (!tracer.settings.traces(['aws-sdk'])) return;
  try {
    require('./patches/aws_requests.js').describe(span, request);
  } catch {
    // a span of HTTP
  }
}

function setServer(span, origin) {
  if (server.origin !== origin) {
    const { hostname, port, protocol } = new URL(origin);
    server = { origin, address: hostname, port: Number(port) || DEFAULT_PORTS[protocol] };
  }
  span.set('server.address', server.address);
  span.set('server.port', server.port);
}

/** Whether the span is that of a call of an AWS SDK. */
function isAws(span) {
  return span.attributes.has('rpc.system');
}

/** Notes the status of the answer; `header` gives its headers by their lower-case names. */
function answered(span, status, header) {
  if (!Number.isInteger(status)) return;
  span.set('http.response.status_code', status);
  if (status >= CLIENT_ERROR) {
    span.set('error.type', String(status));
    span.setStatus(STATUS.ERROR);
  }
  if (isAws(span)) require('./patches/aws_requests.js').describeAnswer(span, header);
}

module.exports = { CALL, answered, isAws, startHttp };
