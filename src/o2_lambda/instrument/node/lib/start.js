'use strict';

// Puts the tracer together, once for each thread that serves invocations.

const { offer } = require('./api.js');
const { Exporter } = require('./exporter.js');
const { Invocations } = require('./handler.js');
const { Hooks } = require('./hooks.js');
const { Writer, request } = require('./protobuf.js');
const settings = require('./settings.js');
const { dropFrames } = require('./stacks.js');
const { Tracer, report } = require('./tracer.js');
const { VERSION } = require('./version.js');

/** @returns {Invocations} what makes a span for each invocation */
function start(env) {
  const chosen = settings.read(env, report);
  const exporter = new Exporter({
    address: chosen.address,
    announces: chosen.announces,
    encode: encoder(env),
    clockMs: () => Math.floor(performance.now()),
    report,
  });
  const tracer = new Tracer(chosen, exporter);
  const invocations = new Invocations(tracer, new Hooks(tracer, env));
  offer(tracer);
  exporter.prepare();
  // An empty event loop is an answer to older runtimes, which give it at this event: ours comes first.
  process.prependListener('beforeExit', () => invocations.abandon());
  process.prependListener('exit', () => invocations.abandon());
  process.prependListener('uncaughtExceptionMonitor', dropFrames); // errors that do not pass us on their way
  return invocations;
}

/** Encodes requests. The resource is read at the first: reading it is nothing that a cold start should wait for. */
function encoder(env) {
  const writer = new Writer();
  let resource = null;
  return (spans) => {
    if (resource === null) resource = require('./resource.js').attributes(env);
    request(writer, resource, VERSION, spans);
    return writer.take();
  };
}

module.exports = { start };
