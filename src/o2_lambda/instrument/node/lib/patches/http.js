'use strict';

// `http` and `https`, and what sends through them, bundled or not: all requests pass `ClientRequest`.
//
// The span begins when the head of the request is made and ends with the head of the answer. No listener is added, since
// a request without one for its answer has that thrown away by Node.js.

const { ClientRequest, OutgoingMessage } = require('http');

const { answered, isAws, startHttp } = require('../clients.js');
const { inject } = require('../propagation.js');

const SCOPE = 'o2_lambda.http';
const SPAN = Symbol('o2.span');
const ANSWERS = new Set(['response', 'upgrade', 'connect']);

/** Shadows `_storeHeader`, which makes the head, on `ClientRequest`; `runtimeApi` is Lambda's own, which is not traced. */
function patch(tracer, runtimeApi) {
  const plain = OutgoingMessage.prototype._storeHeader;
  ClientRequest.prototype._storeHeader = function (firstLine, headers) {
    return plain.call(this, firstLine, begin(this, headers, tracer, runtimeApi));
  };
}

/** Starts the span; returns the headers to send. */
function begin(request, headers, tracer, runtimeApi) {
  try {
    const host = request.getHeader('host') || authority(request, headers);
    if (!host || host === runtimeApi || request[SPAN] !== undefined) return headers;
    const origin = `${request.protocol}//${host}`;
    const span = startHttp(tracer, SCOPE, request.method, origin, request.path, (name) => request.getHeader(name));
    if (span === null) return headers;
    Object.defineProperty(request, SPAN, { value: span });
    observe(request, span, tracer);
    if (isAws(span)) require('./aws_requests.js').watchBody(request, span);
    return withContext(request, headers, span.context, tracer.settings.injects);
  } catch {
    return headers; // no trace of this request
  }
}

function authority(request, headers) {
  if (!Array.isArray(headers)) return request.host;
  const words = headers.flat();
  const at = words.findIndex((word, index) => index % 2 === 0 && String(word).toLowerCase() === 'host');
  return at < 0 ? request.host : words[at + 1];
}

function withContext(request, headers, context, propagators) {
  if (Array.isArray(headers)) {
    const names = new Set(headers.flat().map((word) => String(word).toLowerCase()));
    const added = [];
    inject(context, propagators, (name, value) => {
      if (!names.has(name.toLowerCase())) added.push([name, value]);
    });
    return headers.concat(Array.isArray(headers[0]) ? added : added.flat());
  }
  if (headers === null || headers === undefined) return headers; // nothing there that could be added to
  inject(context, propagators, (name, value) => {
    if (!request.hasHeader(name)) request.setHeader(name, value);
  });
  return headers;
}

/** Sees the request's events pass. */
function observe(request, span, tracer) {
  const plain = request.emit;
  const emit = function (event, ...values) {
    if (ANSWERS.has(event)) {
      note(span, values[0]);
      tracer.end(span);
    } else if (event === 'error') tracer.end(span, values[0]);
    else if (event === 'close') tracer.end(span);
    return plain.call(this, event, ...values);
  };
  Object.defineProperty(request, 'emit', { value: emit, writable: true, configurable: true });
}

function note(span, answer) {
  try {
    answered(span, answer.statusCode, (name) => answer.headers[name]);
  } catch {
    // an event that the function has made up
  }
}

module.exports = { patch };
