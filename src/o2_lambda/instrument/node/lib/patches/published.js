'use strict';

// mysql2, ioredis and redis by the events that their newer versions publish: that is how they are found in a bundle, where
// they have no name. Spans are those of the patched libraries, as far as the events tell.

const channels = require('diagnostics_channel');

const { finish, firstWord, startQuery, startStatement } = require('../databases.js');
const { finishReply, startCommand } = require('./redis_calls.js');

const MYSQL2 = 'o2_lambda.mysql2';
const IOREDIS = 'o2_lambda.ioredis';
const REDIS = 'o2_lambda.redis';
const HANDSHAKE = new Set(['auth', 'client', 'hello', 'info', 'readonly', 'select']); // that ioredis makes by itself
// Channel -> how the span of a call starts and ends.
const FOLLOWED = {
  'mysql2:query': [startMysql2Query, finish],
  'mysql2:execute': [startMysql2, finish],
  'ioredis:command': [startIoredis, finishReply],
  'node-redis:command': [startRedis, finishReply],
  'node-redis:batch': [startRedisBatch, finishReply],
};

/** Follows the calls of a channel to their ends; returns what is to be called with each that begins. */
function follow(name, tracer) {
  const [start, end] = FOLLOWED[name];
  const spans = new WeakMap(); // by call
  const ended = (call) => {
    const span = spans.get(call);
    if (span !== undefined) end(tracer, span, call.error);
  };
  channels.subscribe(`tracing:${name}:asyncStart`, ended);
  channels.subscribe(`tracing:${name}:error`, ended); // also of a call that throws
  return (call) => {
    const span = start(tracer, call);
    if (span !== null) spans.set(call, span);
  };
}

function startMysql2(tracer, call) {
  return startStatement(tracer, MYSQL2, call.query, place(call, 'mysql'));
}

/** The values of a query are in its text by then, where it has any: so that is left out. */
function startMysql2Query(tracer, call) {
  if (!call.values || call.values.length === 0) return startMysql2(tracer, call);
  const operation = firstWord(call.query);
  return startQuery(tracer, MYSQL2, operation || 'mysql', { ...place(call, 'mysql'), operation });
}

function startIoredis(tracer, call) {
  if (HANDSHAKE.has(call.command)) return null;
  return startCommand(tracer, IOREDIS, [call.command, ...call.args], place(call));
}

/** A command; those that are sent together have one span, which is the batch's. */
function startRedis(tracer, call) {
  return call.batchMode === undefined ? startCommand(tracer, REDIS, call.args, place(call)) : null;
}

function startRedisBatch(tracer, call) {
  const operation = call.batchMode;
  const span = startQuery(tracer, REDIS, operation, { ...place(call), system: 'redis', operation });
  if (span !== null) span.set('db.operation.batch.size', call.batchSize);
  return span;
}

function place({ database, serverAddress, serverPort }, system = 'redis') {
  return { system, namespace: String(database), host: serverAddress, port: serverPort };
}

module.exports = { follow };
