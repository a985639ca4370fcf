'use strict';

// Requests of an AWS SDK that lies in a bundle, where it has no name by which it could be found: the request that passes
// tells of what call it is. Nothing of it is changed.
//
// Each attempt has a span, from the head of the request to that of the answer.

const { KIND } = require('../spans.js');
const { SCOPE, describe: describeCall, setRegion } = require('./aws_sdk.js');
const messages = require('./aws_messages.js');

const BODY_BYTES_MAX = 16 * 1024; // a larger one is not read
const VERSION_3 = / api\/([\w-]+)/; // in its `user-agent`
const CREDENTIAL = / Credential=[^/]+\/\d+\/(?:([^/]+)\/)?([^/]+)\/aws4_request/; // `authorization`: region, service
const ATTEMPT = /attempt=(\d+)/;
const FUNCTION = /^\/[\d-]+\/functions\/([^/]+)\/(invocations|response-streaming-invocations)$/;
const FUNCTION_CALLS = { invocations: 'Invoke', 'response-streaming-invocations': 'InvokeWithResponseStream' };
const CBOR = /^\/service\/\w+\/operation\/(\w+)$/;
const S3_HOST = /^(?:(.+)\.)?s3(?:-accelerate|-fips)?\.(?:[\w-]+\.)*amazonaws\.com/; // the bucket may be in front
const OBJECT_CALLS = { DELETE: 'DeleteObject', GET: 'GetObject', HEAD: 'HeadObject', PUT: 'PutObject' };
// Services by their names in `user-agent` and in signatures, where the SDK's own is not those words with capitals.
const SERVICES = new Map([
  ['apigatewaymanagementapi', 'ApiGatewayManagementApi'], ['cloudwatch', 'CloudWatch'],
  ['cloudwatch-logs', 'CloudWatch Logs'], ['cognito-idp', 'Cognito Identity Provider'], ['dynamodb', 'DynamoDB'],
  ['ec2', 'EC2'], ['ecs', 'ECS'], ['email', 'SES'], ['eventbridge', 'EventBridge'], ['events', 'EventBridge'],
  ['iam', 'IAM'], ['kms', 'KMS'], ['logs', 'CloudWatch Logs'], ['monitoring', 'CloudWatch'], ['rds', 'RDS'],
  ['rds-data', 'RDS Data'], ['s3', 'S3'], ['secretsmanager', 'Secrets Manager'], ['ses', 'SES'], ['sesv2', 'SESv2'],
  ['sfn', 'SFN'], ['sns', 'SNS'], ['sqs', 'SQS'], ['ssm', 'SSM'], ['states', 'SFN'], ['sts', 'STS'],
]);

/** Makes the span of an HTTP request that of a call; `header` gives the request's headers by name. */
function describe(span, { method, origin, path, header }) {
  const [, region, signed] = CREDENTIAL.exec(header('authorization')) || [];
  const [, called = signed] = VERSION_3.exec(header('user-agent')) || [];
  if (called === undefined) return;
  const service = serviceName(called.toLowerCase().replaceAll('_', '-'));
  const [operation, input] = read(service, method, origin, path, header);
  span.scope = SCOPE;
  span.name = `${service} ${method}`;
  describeOperation(span, service, operation, input);
  setRegion(span, region);
  const [, attempt] = ATTEMPT.exec(header('amz-sdk-request')) || [];
  if (attempt > 1) span.set('http.request.resend_count', attempt - 1);
}

function serviceName(called) {
  const known = SERVICES.get(called);
  return known || called.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(' ');
}

function describeOperation(span, service, operation, input) {
  if (operation !== undefined) {
    span.name = `${service}.${operation}`;
    if (span.name in messages.SENDS) span.kind = KIND.PRODUCER;
    messages.describe(span, service, operation, input);
  }
  describeCall(span, service, operation, input);
}

/** The operation, undefined where the request does not tell, and those of its parameters that the URL tells. */
function read(service, method, origin, path, header) {
  const target = header('x-amz-target');
  if (typeof target === 'string') return [target.slice(target.lastIndexOf('.') + 1), {}];
  const [folder, query = ''] = path.split('?');
  if (service === 'S3') return readS3(method, origin, folder, query, header);
  const [, name, call] = service === 'Lambda' ? FUNCTION.exec(folder) || [] : [];
  if (name !== undefined) return [FUNCTION_CALLS[call], { FunctionName: decodeURIComponent(name) }];
  const [, operation] = CBOR.exec(folder) || [];
  return [operation, {}];
}

/** S3: buckets are in the name of the host or in the path, of which only AWS's own names tell. */
function readS3(method, origin, folder, query, header) {
  const input = {};
  const host = S3_HOST.exec(origin.slice(origin.indexOf('//') + 2));
  if (host !== null) {
    const [, bucket, key] = /^\/([^/]*)\/?(.*)$/.exec(host[1] === undefined ? folder : `/${host[1]}${folder}`);
    input.Bucket = bucket || undefined;
    input.Key = decodeURIComponent(key) || undefined;
  }
  const parameters = new URLSearchParams(query);
  if (parameters.has('x-id')) return [parameters.get('x-id'), input];
  if (method === 'GET' && parameters.get('list-type') === '2') return ['ListObjectsV2', input];
  const isPlain = query === '' && input.Key !== undefined && header('x-amz-copy-source') === undefined;
  return [isPlain ? OBJECT_CALLS[method] : undefined, input];
}

/** Looks at the beginning of the body when it passes, where the parameters are in that. */
function watchBody(request, span) {
  const type = String(request.getHeader('content-type'));
  const isForm = type.startsWith('application/x-www-form-urlencoded');
  const send = request._send;
  if (!(isForm || type.startsWith('application/x-amz-json-')) || typeof send !== 'function') return;
  const watching = function (data, ...rest) {
    if (data.length > 0) {
      delete request._send;
      describeBody(span, isForm, data);
    }
    return send.call(this, data, ...rest);
  };
  Object.defineProperty(request, '_send', { value: watching, configurable: true });
}

function describeBody(span, isForm, data) {
  if (data.length > BODY_BYTES_MAX) return;
  try {
    const body = data.toString();
    const input = isForm ? Object.fromEntries(new URLSearchParams(body)) : JSON.parse(body);
    const operation = isForm ? input.Action : span.attributes.get('rpc.method');
    describeOperation(span, span.attributes.get('rpc.service'), operation, input);
  } catch {
    // no such body: the span has what else is known
  }
}

/** Notes what the head of the answer tells. */
function describeAnswer(span, header) {
  span.set('aws.request_id', header('x-amzn-requestid') || header('x-amz-request-id'));
  span.set('aws.extended_request_id', header('x-amz-id-2'));
  const error = header('x-amzn-errortype');
  if (typeof error !== 'string') return;
  const [code] = error.split(':');
  span.set('aws.error.code', code);
  span.set('error.type', code);
}

module.exports = { describe, describeAnswer, watchBody };
