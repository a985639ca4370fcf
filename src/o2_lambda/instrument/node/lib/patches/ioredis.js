'use strict';

// ioredis: a span for each command of a client, also of a cluster's, and one for each pipeline or transaction.

const { attempt, replace } = require('../databases.js');
const { startBatch, startCommand, watchReply } = require('./redis_calls.js');

const SCOPE = 'o2_lambda.ioredis';
const HANDSHAKE = new Set(['auth', 'client', 'hello', 'info', 'readonly', 'select']);

/** Replaces `sendCommand`, which a command may pass again after a reconnection. */
function patch({ default: Redis }, tracer) {
  const seen = new WeakSet();
  replace(Redis.prototype, 'sendCommand', (plain, client, given) => {
    const [command] = given;
    const isHandshake = client.status === 'connect' && HANDSHAKE.has(command.name);
    const span = isHandshake || seen.has(command) ? null : attempt(() => start(client, command, tracer));
    seen.add(command);
    if (span !== null) watchReply(tracer, span, command.promise);
    return plain(...given);
  });
}

/** Replaces `exec`, below which the commands have no spans of their own. A transaction passes it twice. */
function patchPipeline({ default: Pipeline }, tracer) {
  const spans = new WeakMap();
  replace(Pipeline.prototype, 'exec', (plain, pipeline, given) => {
    if (!spans.has(pipeline)) {
      const span = attempt(() => startPipeline(pipeline, tracer));
      spans.set(pipeline, span);
      if (span !== null) watchReply(tracer, span, pipeline.promise);
    }
    return tracer.within(spans.get(pipeline), () => plain(...given));
  });
}

function start(client, command, tracer) {
  return startCommand(tracer, SCOPE, [command.name, ...command.args], place(client));
}

function startPipeline(pipeline, tracer) {
  const commands = pipeline._queue.map((command) => [command.name, ...command.args]);
  const isTransaction = commands.length > 0 && commands[0][0] === 'multi';
  const own = isTransaction ? commands.slice(1).filter(([name]) => name !== 'exec') : commands;
  const client = pipeline.isCluster ? {} : pipeline.redis;
  return startBatch(tracer, SCOPE, own, isTransaction ? 'MULTI' : 'PIPELINE', place(client));
}

function place({ options, condition }) {
  if (options === undefined) return {}; // a cluster, which has many
  const database = (condition && condition.select) || options.db || 0;
  const { path, host, port } = options;
  return { namespace: String(database), host: path || host, port: path ? undefined : port };
}

module.exports = { patch, patchPipeline };
