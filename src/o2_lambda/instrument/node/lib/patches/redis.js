'use strict';

// redis (node-redis), that is @redis/client of version 5 and later, and by a way of its own of version 1 (of redis 4).

const { attempt, replace } = require('../databases.js');
const { startBatch, startCommand, watchReply } = require('./redis_calls.js');

const SCOPE = 'o2_lambda.redis';
const PORT = 6379;
const selected = new WeakMap(); // database, by client

/** Replaces what sends on the class that all clients descend from. */
function patch({ default: Client }, tracer) {
  const { prototype } = Client;
  if (prototype.commandsExecutor !== undefined) {
    require('./redis_1.js').patch(prototype, tracer);
    return;
  }
  replace(prototype, 'sendCommand', (plain, client, given) => send(tracer, client, given[0], () => plain(...given)));
  for (const [name, operation] of [['_executeMulti', 'MULTI'], ['_executePipeline', 'PIPELINE']]) {
    replace(prototype, name, (plain, client, given) =>
      sendBatch(tracer, client, given[0], operation, () => plain(...given)),
    );
  }
}

/** Calls `call`, which sends a command of those words, with a span around it. */
function send(tracer, client, words, call) {
  const span = attempt(() => startCommand(tracer, SCOPE, words, place(client)));
  if (String(words[0]).toUpperCase() === 'SELECT') selected.set(client._self || client, Number(words[1]));
  return span === null ? call() : watchReply(tracer, span, call());
}

function sendBatch(tracer, client, commands, operation, call) {
  const words = () => commands.map(({ args }) => args);
  const span = attempt(() => startBatch(tracer, SCOPE, words(), operation, place(client)));
  return span === null ? call() : watchReply(tracer, span, call());
}

function place(client) {
  const { database = 0, socket = {} } = client.options || {};
  const namespace = String(selected.get(client._self || client) ?? database);
  if (socket.path) return { namespace, host: socket.path };
  return { namespace, host: socket.host || 'localhost', port: socket.port || PORT };
}

module.exports = { patch, send, sendBatch };
