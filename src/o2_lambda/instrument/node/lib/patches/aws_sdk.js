'use strict';

// The AWS SDK, version 3: a span for each call of an AWS API, and its context with what it sends.

const { CALL } = require('../clients.js');
const { attempt, returning } = require('../databases.js');
const { KIND } = require('../spans.js');
const messages = require('./aws_messages.js');

const SCOPE = 'o2_lambda.aws_sdk';
const OBSERVER = { step: 'finalizeRequest', priority: 'low', name: 'o2LambdaTracing', override: true }; // next to retries
// Parameters that say what a call was about, and the attributes for them.
const SUBJECTS = [
  ['S3', 'Bucket', 'aws.s3.bucket'],
  ['S3', 'Key', 'aws.s3.key'],
  ['SQS', 'QueueUrl', 'aws.sqs.queue.url'],
  ['SNS', 'TopicArn', 'aws.sns.topic.arn'],
  ['Kinesis', 'StreamName', 'aws.kinesis.stream_name'],
];

/** Replaces `Client.prototype.send`, which every call of every client passes; `exported` is the module that has it. */
function patch(exported, tracer) {
  const { prototype } = exported.Client;
  const plain = prototype.send;
  prototype.send = function (command, ...rest) {
    const span = attempt(() => begin(this, command, tracer));
    if (span === null) return plain.call(this, command, ...rest);
    const call = () => plain.call(this, command, ...rest);
    const keeps = Boolean(this.config.cacheMiddleware); // that of its first command
    const end = (error, output) => finish(span, error, output, tracer);
    const at = rest.findIndex((value) => typeof value === 'function');
    try {
      if (at >= 0) {
        const answer = returning(tracer, rest[at]);
        rest[at] = (error, output) => {
          end(error, output);
          answer(error, output);
        };
        return covered(span, command, call, tracer, keeps);
      }
      return covered(span, command, call, tracer, keeps).then(
        (output) => {
          end(undefined, output);
          return output;
        },
        (error) => {
          end(error);
          throw error;
        },
      );
    } catch (error) {
      end(error);
      throw error;
    }
  };
}

/**
 * Calls `call`, whose HTTP requests have no spans of their own. Up to Node.js 22 it takes half a millisecond to follow the
 * many promises of a call, and all that come after: where nothing else is in need of that, its requests are known by the id
 * that they carry.
 */
function covered(span, command, call, tracer, keeps) {
  if (tracer.follows || keeps || !command.middlewareStack) return tracer.within(span, call);
  const observe = (next) => (args) => {
    const { headers } = args.request;
    if (headers && headers[CALL] && span.endNs === 0n) {
      span.call = headers[CALL];
      tracer.calls.set(span.call, span);
    }
    return next(args);
  };
  command.middlewareStack.add(observe, OBSERVER);
  return call();
}

/** The span, or null. What is sent gets its context: a copy of the caller's parameters. */
function begin(client, command, tracer) {
  const service = String(client.config.serviceId);
  const called = command.clientCommand || command; // the document client of DynamoDB wraps commands
  const operation = called.constructor.name.replace(/Command$/, '');
  const span = start(tracer, service, operation, called);
  if (span !== null) describeRegion(span, client);
  return span;
}

/** The span of a call; `call.input` gets the context, in a copy of the caller's. */
function start(tracer, service, operation, call) {
  let span = null;
  try {
    const name = `${service}.${operation}`;
    span = tracer.startClient(name, SCOPE, name in messages.SENDS ? KIND.PRODUCER : KIND.CLIENT);
    if (span === null) return null;
    describe(span, service, operation, call.input || {});
    messages.describe(span, service, operation, call.input || {});
    call.input = messages.withContext(service, operation, call.input, span.context, tracer.settings.injects);
  } catch {
    // The call goes on, with what is known of it.
  }
  return span;
}

function describe(span, service, operation, input) {
  span.set('rpc.system', 'aws-api');
  span.set('rpc.service', service);
  span.set('rpc.method', operation);
  for (const [owner, parameter, attribute] of SUBJECTS) {
    if (owner === service && typeof input[parameter] === 'string') span.set(attribute, input[parameter]);
  }
  if (service === 'DynamoDB') {
    span.set('db.system.name', 'aws.dynamodb');
    span.set('db.operation.name', operation);
    if (typeof input.TableName === 'string') span.set('aws.dynamodb.table_names', [input.TableName]);
  }
  if (service === 'Lambda' && typeof input.FunctionName === 'string') {
    span.set('faas.invoked_provider', 'aws');
    span.set('faas.invoked_name', functionName(input.FunctionName));
  }
}

/** Of a name, or of an ARN, which may lack its beginning; either may have a version or an alias behind. */
function functionName(given) {
  const [, qualified = given] = given.split(':function:');
  return qualified.split(':')[0];
}

/** The client knows its region, or finds it out; it is there before the answer. */
function describeRegion(span, client) {
  const { region } = client.config;
  if (typeof region === 'string') setRegion(span, region);
  else if (typeof region === 'function') {
    Promise.resolve(region()).then(
      (name) => setRegion(span, name),
      () => {},
    );
  }
}

function setRegion(span, name) {
  span.set('cloud.region', name);
  if (span.attributes.has('faas.invoked_name')) span.set('faas.invoked_region', name);
}

function finish(span, error, output, tracer) {
  tracer.calls.delete(span.call);
  const { $metadata: details = {} } = error || output || {};
  span.set('http.response.status_code', details.httpStatusCode);
  span.set('aws.request_id', details.requestId);
  span.set('aws.extended_request_id', details.extendedRequestId);
  if (details.attempts > 1) span.set('http.request.resend_count', details.attempts - 1);
  if (error) span.set('aws.error.code', error.name);
  else messages.describeAnswer(span, output || {});
  tracer.end(span, error || undefined);
}

module.exports = { SCOPE, describe, functionName, patch, setRegion, start };
