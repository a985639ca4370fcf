'use strict';

// The AWS SDK, version 2: a span for each call of an AWS API, and its context with what it sends.

const { replace } = require('../databases.js');
const messages = require('./aws_messages.js');
const { setRegion, start } = require('./aws_sdk.js');

/** Replaces `Request.prototype.runTo`, which callbacks, promises and streams all start a request with. */
function patch(AWS, tracer) {
  replace(AWS.Request.prototype, 'runTo', (plain, request, given) => {
    const span = given[0] === undefined ? begin(request, tracer) : null; // others build or sign, and send nothing
    return span === null ? plain(...given) : tracer.within(span, () => plain(...given));
  });
}

function begin(request, tracer) {
  const { operation, service } = request;
  const call = { input: request.params };
  const span = start(tracer, service.api.serviceId, operation[0].toUpperCase() + operation.slice(1), call);
  if (span === null) return null;
  request.params = call.input;
  setRegion(span, service.config.region);
  const { flow } = tracer;
  const store = flow.getStore();
  const finish = (response) => {
    const { error, httpResponse, requestId, retryCount } = response;
    span.set('http.response.status_code', (httpResponse && httpResponse.statusCode) || undefined);
    span.set('aws.request_id', requestId || undefined);
    if (retryCount > 0) span.set('http.request.resend_count', retryCount);
    if (error) span.set('aws.error.code', error.code);
    else messages.describeAnswer(span, response.data || {});
    tracer.end(span, error || undefined);
    flow.enterWith(store); // for the listeners after this one: the caller's own
  };
  request.on('complete', finish, true);
  return span;
}

module.exports = { patch };
