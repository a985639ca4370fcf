'use strict';

// What the clients of Redis share: commands without their arguments, which are the function's data.

const { startQuery, watch } = require('../databases.js');

const COMMANDS_MAX = 100; // of a batch, in the text of its query
const ERROR_CODE = /^[A-Z]+(?= )/; // `WRONGTYPE Operation against a key …`

/** Starts the span of one command, a list of its words; null where there is nothing to trace. */
function startCommand(tracer, scope, words, place) {
  const operation = String(words[0]).toUpperCase();
  return startQuery(tracer, scope, operation, { ...place, system: 'redis', operation, text: masked(words) });
}

/** Starts the span of commands that are sent together; `operation` is PIPELINE or MULTI. */
function startBatch(tracer, scope, commands, operation, place) {
  const text = commands.slice(0, COMMANDS_MAX).map(masked).join('\n');
  const name = commands.slice(0, COMMANDS_MAX).map((words) => String(words[0]).toUpperCase()).join(' ');
  const span = startQuery(tracer, scope, name || operation, { ...place, system: 'redis', operation, text });
  if (span !== null) span.set('db.operation.batch.size', commands.length);
  return span;
}

function masked(words) {
  return [String(words[0]).toUpperCase(), ...Array.from(words).slice(1).fill('?')].join(' ');
}

/** Ends the span with what becomes of the promise. */
function watchReply(tracer, span, promise) {
  return watch(tracer, span, promise, (error) => finishReply(tracer, span, error));
}

/** Ends the span, and notes Redis' own code of an error. */
function finishReply(tracer, span, error) {
  if (error) span.set('db.response.status_code', (ERROR_CODE.exec(error.message) || [])[0]);
  tracer.end(span, error);
}

module.exports = { finishReply, startBatch, startCommand, watchReply };
