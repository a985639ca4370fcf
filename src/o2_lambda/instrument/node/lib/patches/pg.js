'use strict';

// pg: a span for each query of a client, and so of a pool. The text is the function's own, without the values.

const { errorMonitor } = require('events');

const { attempt, finish, replace, returning, startStatement, watch } = require('../databases.js');

const SCOPE = 'o2_lambda.pg';

/** Replaces `Client.prototype.query`, which takes a text or a description, or a query that is an emitter or a stream. */
function patch(Client, tracer) {
  replace(Client.prototype, 'query', (plain, client, given) => {
    const span = attempt(() => start(client, given[0], tracer));
    if (span === null) return plain(...given);
    const at = given.findIndex((value) => typeof value === 'function');
    try {
      if (at >= 0) given[at] = returning(tracer, given[at], span);
      const isQuery = given[0] !== null && typeof given[0].submit === 'function';
      if (isQuery && typeof given[0].callback === 'function') {
        given[0].callback = returning(tracer, given[0].callback, span);
      } else if (isQuery && at < 0) observe(given[0], span, tracer);
      const result = plain(...given);
      return at < 0 && !isQuery && result ? watch(tracer, span, result) : result;
    } catch (error) {
      finish(tracer, span, error);
      throw error;
    }
  });
}

/** A pool calls back from wherever a connection came free. */
function patchPool(Pool, tracer) {
  replace(Pool.prototype, 'connect', (plain, _pool, [callback, ...rest]) =>
    plain(typeof callback === 'function' ? returning(tracer, callback) : callback, ...rest),
  );
}

function start(client, query, tracer) {
  const text = typeof query === 'string' ? query : query.text || (query.cursor || {}).text;
  return startStatement(tracer, SCOPE, text, {
    system: 'postgresql',
    namespace: client.database,
    host: client.host,
    port: client.port,
  });
}

function observe(query, span, tracer) {
  if (typeof query.once !== 'function') {
    finish(tracer, span, undefined); // nothing tells of its end
    return;
  }
  query.once('end', () => finish(tracer, span, undefined));
  query.once('close', () => finish(tracer, span, undefined));
  query.once(errorMonitor, (error) => finish(tracer, span, error));
}

module.exports = { patch, patchPool };
