'use strict';

// The resource: what this process is. Attributes that the user sets win.

const { VERSION } = require('./version.js');

const MEBIBYTE = 1024 * 1024;

/** Resource attributes by OpenTelemetry's conventions for AWS Lambda, as a Map. */
function attributes(env) {
  const name = env.AWS_LAMBDA_FUNCTION_NAME || '';
  const memoryMb = Number(env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE);
  const found = new Map([
    ['service.name', name || 'unknown_service'],
    ['telemetry.sdk.language', 'nodejs'],
    ['telemetry.sdk.name', 'o2-lambda'],
    ['telemetry.sdk.version', VERSION],
    ['process.runtime.name', 'nodejs'],
    ['process.runtime.version', process.versions.node],
    ['cloud.provider', 'aws'],
    ['cloud.platform', 'aws_lambda'],
    ['cloud.region', env.AWS_REGION || ''],
    ['faas.name', name],
    ['faas.version', env.AWS_LAMBDA_FUNCTION_VERSION || ''],
    ['faas.instance', env.AWS_LAMBDA_LOG_STREAM_NAME || ''],
  ]);
  if (memoryMb > 0) found.set('faas.max_memory', memoryMb * MEBIBYTE);
  if (env.AWS_LAMBDA_LOG_GROUP_NAME) found.set('aws.log.group.names', [env.AWS_LAMBDA_LOG_GROUP_NAME]);
  for (const item of (env.OTEL_RESOURCE_ATTRIBUTES || '').split(',')) {
    const equals = item.indexOf('=');
    if (equals > 0 && item.slice(0, equals).trim()) {
      found.set(decode(item.slice(0, equals).trim()), decode(item.slice(equals + 1).trim()));
    }
  }
  if (env.OTEL_SERVICE_NAME) found.set('service.name', env.OTEL_SERVICE_NAME);
  for (const [key, value] of found) if (value === '') found.delete(key);
  return found;
}

function decode(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

module.exports = { attributes };
