'use strict';

// What all database patches share: the attributes of a query, by OpenTelemetry's stable conventions, and its end.

const QUERY_CHARS_MAX = 4096; // a bulk insert may have megabytes
const COMMENT = /^\s*\/\*[^]*?\*\//;
const SQLSTATE = /^[0-9A-Z]{5}$/;

/** Starts the span of a query; null where there is nothing to trace. */
function startQuery(tracer, scope, name, { system, namespace, operation, text, host, port }) {
  const span = tracer.startClient(name, scope);
  if (span === null) return null;
  span.set('db.system.name', system);
  span.set('db.namespace', namespace || undefined);
  span.set('db.operation.name', operation || undefined);
  span.set('db.query.text', text ? text.slice(0, QUERY_CHARS_MAX) : undefined);
  span.set('server.address', host || undefined);
  span.set('server.port', Number(port) || undefined);
  return span;
}

/** Starts the span of an SQL statement, named by the statement's first word, or else by the database. */
function startStatement(tracer, scope, statement, place) {
  const text = typeof statement === 'string' ? statement : '';
  const operation = firstWord(text);
  return startQuery(tracer, scope, operation || place.namespace || place.system, { ...place, operation, text });
}

/** `SELECT`, of a statement that may begin with a comment. */
function firstWord(statement) {
  return /^\s*(\w*)/.exec(statement.slice(0, QUERY_CHARS_MAX).replace(COMMENT, ''))[1];
}

/** Ends the span, with the database's own code of an error: SQLSTATE, the name of Redis, the number of MongoDB. */
function finish(tracer, span, error) {
  if (error) {
    const code = [error.sqlState, error.code].find((value) => Number.isInteger(value) || SQLSTATE.test(value));
    span.set('db.response.status_code', code === undefined ? undefined : String(code));
  }
  tracer.end(span, error || undefined);
}

/**
 * A promise like the one given, and the caller's in its place: to watch that would handle its rejection, which nobody might
 * be told of then where the caller does not handle it.
 */
function watch(tracer, span, promise, end = (error) => finish(tracer, span, error)) {
  if (!promise || typeof promise.then !== 'function') {
    end(undefined);
    return promise;
  }
  return promise.then(
    (value) => {
      end(undefined);
      return value;
    },
    (error) => {
      end(error);
      throw error;
    },
  );
}

/** The callback, in the flow of the call that it was given to; with `span` it ends that before. */
function returning(tracer, callback, span = null) {
  const { flow } = tracer;
  const store = flow.getStore();
  return function (...given) {
    if (span !== null) finish(tracer, span, given[0]);
    const call = () => Reflect.apply(callback, this, given);
    return flow.getStore() === store ? call() : flow.run(store, call); // following a flow costs every promise something
  };
}

/** Replaces a method: `around(plain, self, given)` calls the plain one. */
function replace(prototype, name, around) {
  const plain = prototype[name];
  if (typeof plain !== 'function') throw new Error(`it has no ${name}`);
  prototype[name] = function (...given) {
    return around((...passed) => Reflect.apply(plain, this, passed), this, given);
  };
}

/** A span, or null where something about the call is not as it should be: the call goes on. */
function attempt(begin) {
  try {
    return begin();
  } catch {
    return null;
  }
}

module.exports = { attempt, finish, firstWord, replace, returning, startQuery, startStatement, watch };
