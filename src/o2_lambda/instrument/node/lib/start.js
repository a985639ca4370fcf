'use strict';

// Puts the tracer together, once for each thread that serves invocations.

const { offer } = require('./api.js');
const { Invocations } = require('./handler.js');
const settings = require('./settings.js');
const { Tracer, report } = require('./tracer.js');

/** @returns {Invocations} what makes a span for each invocation */
function start(env) {
  const chosen = settings.read(env, report);
  const tracer = new Tracer(chosen, () => require('./sending.js').open(env, report));
  const invocations = new Invocations(tracer, () => new (require('./hooks.js').Hooks)(tracer, env));
  offer(tracer);
  // An empty event loop is an answer to older runtimes, which give it at this event: ours comes first.
  process.prependListener('beforeExit', () => invocations.abandon());
  process.prependListener('exit', () => invocations.abandon());
  const drop = (error) => require('./stacks.js').dropFrames(error); // of errors that do not pass us on their way
  process.prependListener('uncaughtExceptionMonitor', drop);
  return invocations;
}

module.exports = { start };
