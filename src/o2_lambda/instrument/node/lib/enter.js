'use strict';

// What our entry files do: give the environment its handler back, start the tracer, load and wrap the handler.

const { Loader } = require('./load.js');

const NAME = 'O2_TRACED_HANDLER'; // the wrapper's, for us alone
const ENTRY_FRAMES = 40; // of our entry's stack; the runtime's lie below those of Node.js's loader

/** The stack at an entry, deep enough to show how the runtime has loaded it; as an error, which is text only if asked. */
function trail() {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = ENTRY_FRAMES;
  const error = new Error();
  Error.stackTraceLimit = limit;
  return error;
}

/**
 * The function's handler, traced, or a promise of it.
 * @param {NodeModule | undefined} parent of our entry; none where the runtime has imported it
 */
function enter(parent) {
  const env = process.env;
  const ours = env._HANDLER;
  const name = env[NAME] || '';
  env._HANDLER = name;
  delete env[NAME];
  process.argv = process.argv.map((word) => (word === ours ? name : word));
  const invocations = start(env);
  const loaded = new Loader(env.LAMBDA_TASK_ROOT, parent, trail()).load(name);
  const finish = (handler) => {
    if (typeof handler !== 'function') rename(ours, name);
    return typeof handler === 'function' && invocations !== null ? invocations.wrap(handler) : handler;
  };
  return loaded instanceof Promise ? loaded.then(finish) : finish(loaded);
}

function start(env) {
  try {
    return require('./start.js').start(env);
  } catch (error) {
    process.stderr.write(`o2-lambda: tracing is off: ${error}\n`);
    return null;
  }
}

/**
 * There is no such handler, and the runtime is about to say so and to exit, naming the handler that it was given: ours.
 * In what it logs and reports, which is JSON, the user's takes its place.
 */
function rename(ours, name) {
  const { stringify } = JSON;
  JSON.stringify = (...given) => {
    const json = stringify(...given);
    return typeof json === 'string' ? json.split(ours).join(name) : json;
  };
}

module.exports = { enter };
