'use strict';

// mysql2: a span for each query and each execution of a connection, and so of a pool, with callbacks or promises.

const { errorMonitor } = require('events');

const { attempt, finish, replace, returning, startStatement } = require('../databases.js');

const SCOPE = 'o2_lambda.mysql2';

/** Replaces `query` and `execute` of the connection that promises and pools are built upon. */
function patch(Connection, tracer) {
  for (const name of ['query', 'execute']) {
    if (!Object.hasOwn(Connection.prototype, name)) continue; // newer versions have a class for both below it
    replace(Connection.prototype, name, (plain, connection, given) => {
      const span = attempt(() => start(connection.config, given[0], tracer));
      if (span === null) return plain(...given);
      const [command] = given;
      const at = given.findIndex((value) => typeof value === 'function');
      try {
        if (at >= 0) given[at] = returning(tracer, given[at], span);
        else if (typeof command.onResult === 'function') command.onResult = returning(tracer, command.onResult, span);
        const result = plain(...given);
        if (at < 0 && typeof command.onResult !== 'function') observe(result, span, tracer);
        return result;
      } catch (error) {
        finish(tracer, span, error);
        throw error;
      }
    });
  }
}

/** A pool calls back from wherever a connection came free. */
function patchPool(Pool, tracer) {
  if (!Object.hasOwn(Pool.prototype, 'getConnection')) return;
  replace(Pool.prototype, 'getConnection', (plain, _pool, [callback]) => plain(returning(tracer, callback)));
}

function start(config, query, tracer) {
  return startStatement(tracer, SCOPE, typeof query === 'string' ? query : query.sql, {
    system: 'mysql',
    namespace: config.database,
    host: config.socketPath || config.host,
    port: config.socketPath ? undefined : config.port,
  });
}

function observe(command, span, tracer) {
  command.once('end', () => finish(tracer, span, undefined));
  command.once(errorMonitor, (error) => finish(tracer, span, error));
}

module.exports = { patch, patchPool };
