'use strict';

// mongodb: a span for each command that a connection sends, without documents.

const { attempt, replace, returning, startQuery, watch } = require('../databases.js');

const SCOPE = 'o2_lambda.mongodb';
const OWN = new Set(['hello', 'ismaster', 'isMaster', 'saslStart', 'saslContinue', 'endSessions']); // the driver's
const ADDRESS = /^(.*):(\d+)$/;

/** Replaces `Connection.prototype.command`, which answers with a promise since version 6.4, through a callback before. */
function patch({ Connection }, tracer) {
  replace(Connection.prototype, 'command', (plain, connection, given) => {
    const span = attempt(() => start(connection, given[0], given[1], tracer));
    if (span === null) return plain(...given);
    const [, , , last] = given; // a callback, or the class of the answer
    if (typeof last !== 'function' || 'make' in last) return watch(tracer, span, plain(...given));
    given[3] = returning(tracer, last, span);
    return plain(...given);
  });
}

function start(connection, { db }, command, tracer) {
  const [operation] = Object.keys(command);
  if (OWN.has(operation)) return null;
  const [, host, port] = ADDRESS.exec(connection.address) || [null, connection.address];
  const span = startQuery(tracer, SCOPE, `${db}.${operation}`, {
    system: 'mongodb',
    namespace: db,
    operation,
    text: operation,
    host,
    port,
  });
  if (span !== null && typeof command[operation] === 'string') span.set('db.collection.name', command[operation]);
  return span;
}

module.exports = { patch };
