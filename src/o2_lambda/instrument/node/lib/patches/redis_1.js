'use strict';

// @redis/client of version 1. Its commands hold what executes them since they were made, so they are told apart by what
// they put into the queue while they run; the queue does not know the client, nor the commands their words.

const { replace } = require('../databases.js');
const { send, sendBatch } = require('./redis.js');

const CLASS = /^[A-Z][a-z]/; // `Multi`, among `GET`, `get` and `getSet`

let running = null; // the client whose command is being called

function patch(prototype, tracer) {
  const isCommand = (name) => typeof prototype[name] === 'function' && !CLASS.test(name);
  const commands = Object.keys(prototype).filter(isCommand);
  for (const name of ['sendCommand', 'executeScript', 'SELECT', ...commands]) {
    replace(prototype, name, (plain, client, given) => {
      const before = running;
      running = client;
      try {
        return plain(...given);
      } finally {
        running = before;
      }
    });
  }
  replace(prototype, 'multiExecutor', (plain, client, given) => {
    const operation = given[2] === undefined ? 'PIPELINE' : 'MULTI'; // a transaction has an identity
    return sendBatch(tracer, client, given[0], operation, () => plain(...given));
  });
}

function patchQueue({ default: Queue }, tracer) {
  replace(Queue.prototype, 'addCommand', (plain, _queue, given) =>
    running === null ? plain(...given) : send(tracer, running, given[0], () => plain(...given)),
  );
}

module.exports = { patch, patchQueue };
