'use strict';

// ioredis: a span for each command of a client, also of a cluster's, and one for each pipeline or transaction.

const { attempt, replace } = require('../databases.js');
const { finishReply, startBatch, startCommand } = require('./redis_calls.js');

const SCOPE = 'o2_lambda.ioredis';
const unsent = new WeakSet(); // commands
const spans = new WeakMap(); // by command, or pipeline
const HANDSHAKE = new Set(['auth', 'client', 'hello', 'info', 'readonly', 'select']);

/**
 * Replaces `initPromise`, which makes the promise of a command: whoever watched that itself would handle its rejection.
 * The promise of a command that is followed to another node of a cluster is settled at its end.
 */
function patchCommand({ default: Command }, tracer) {
  replace(Command.prototype, 'initPromise', (plain, command) => {
    plain();
    unsent.add(command);
    observe(command, (error) => {
      if (spans.has(command)) finishReply(tracer, spans.get(command), error);
    });
  });
}

/** Replaces `sendCommand`, which a command may pass again after a reconnection. */
function patch({ default: Redis }, tracer) {
  replace(Redis.prototype, 'sendCommand', (plain, client, given) => {
    const [command] = given;
    const isHandshake = client.status === 'connect' && HANDSHAKE.has(command.name);
    const span = unsent.delete(command) && !isHandshake ? attempt(() => start(client, command, tracer)) : null;
    if (span !== null) spans.set(command, span);
    return plain(...given);
  });
}

/** Replaces `exec`, below which the commands have no spans of their own. A transaction passes it twice. */
function patchPipeline({ default: Pipeline }, tracer) {
  replace(Pipeline.prototype, 'exec', (plain, pipeline, given) => {
    if (!spans.has(pipeline)) {
      const span = attempt(() => startPipeline(pipeline, tracer));
      spans.set(pipeline, span);
      if (span !== null) observe(pipeline, (error) => finishReply(tracer, span, error));
    }
    return tracer.within(spans.get(pipeline), () => plain(...given));
  });
}

/** Calls `end` when the owner of a promise settles that. */
function observe(owner, end) {
  const { resolve, reject } = owner;
  owner.resolve = (value) => {
    const answer = resolve(value); // which may reject
    end(undefined);
    return answer;
  };
  owner.reject = (error) => {
    end(error);
    reject(error);
  };
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

module.exports = { patch, patchCommand, patchPipeline };
