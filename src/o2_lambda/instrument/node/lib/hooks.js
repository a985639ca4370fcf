'use strict';

// Patches the clients that the function uses: Node.js's own before the first event, libraries once they are found among what
// has been loaded. Nothing hooks into loading itself: that would show in the stack trace of whatever fails to load.

const channels = require('diagnostics_channel');
const Module = require('module');

const { report } = require('./tracer.js');

const LOOKS_MAX = 8; // invocations at whose beginning libraries are looked for, beside the look before the first event
// A file below node_modules, the module that patches it, its function for that, and the names that
// OTEL_NODE_DISABLED_INSTRUMENTATIONS knows it by.
const LIBRARIES = new Map([
  ['@smithy/core/dist-cjs/submodules/client/index.js', ['aws_sdk', 'patch', ['aws-sdk']]],
  ['@smithy/smithy-client/dist-cjs/index.js', ['aws_sdk', 'patch', ['aws-sdk']]],
  ['aws-sdk/lib/core.js', ['aws_sdk_2', 'patch', ['aws-sdk']]],
  ['pg/lib/client.js', ['pg', 'patch', ['pg']]],
  ['pg-pool/index.js', ['pg', 'patchPool', ['pg']]],
  ['mysql2/lib/base/connection.js', ['mysql2', 'patch', ['mysql2']]],
  ['mysql2/lib/connection.js', ['mysql2', 'patch', ['mysql2']]],
  ['mysql2/lib/base/pool.js', ['mysql2', 'patchPool', ['mysql2']]],
  ['mysql2/lib/pool.js', ['mysql2', 'patchPool', ['mysql2']]],
  ['ioredis/built/Redis.js', ['ioredis', 'patch', ['ioredis']]],
  ['ioredis/built/Pipeline.js', ['ioredis', 'patchPipeline', ['ioredis']]],
  ['ioredis/built/Command.js', ['ioredis', 'patchCommand', ['ioredis']]],
  ['@redis/client/dist/lib/client/index.js', ['redis', 'patch', ['redis', 'redis-4']]],
  ['@redis/client/dist/lib/client/commands-queue.js', ['redis_1', 'patchQueue', ['redis', 'redis-4']]],
  ['mongodb/lib/cmap/connection.js', ['mongodb', 'patch', ['mongodb']]],
]);
const FOLDER = '/node_modules/';
// Channels on which libraries publish their calls, and the names of their instrumentations: for a library in a bundle.
const PUBLISHED = [
  ['mysql2:query', ['mysql2']],
  ['mysql2:execute', ['mysql2']],
  ['ioredis:command', ['ioredis']],
  ['node-redis:command', ['redis', 'redis-4']],
  ['node-redis:batch', ['redis', 'redis-4']],
];

class Hooks {
  constructor(tracer, env) {
    this._tracer = tracer;
    this._looks = 0;
    this._loaded = 0;
    this._patched = new Set();
    this._silences = null; // library -> what ends the listening to what it publishes
    this._own('http', ['http'], env.AWS_LAMBDA_RUNTIME_API);
    this._own('undici', ['undici'], undefined);
  }

  _own(name, names, argument) {
    if (this._tracer.settings.traces(names)) this._attempt(name, () => require(`./patches/${name}.js`).patch(this._tracer, argument));
  }

  /** Patches what has been loaded since the last look. */
  look() {
    if (this._looks > LOOKS_MAX) return;
    this._looks += 1;
    if (this._silences === null) this._listen();
    const files = Object.keys(Module._cache);
    if (files.length === this._loaded) return;
    this._loaded = files.length;
    for (const file of files) {
      const found = LIBRARIES.get(file.slice(file.lastIndexOf(FOLDER) + FOLDER.length));
      if (found === undefined || !Module._cache[file].loaded || this._patched.has(file)) continue;
      this._patched.add(file);
      const [name, change, names] = found;
      if (!this._tracer.settings.traces(names)) continue;
      this._attempt(name, () => require(`./patches/${name}.js`)[change](Module._cache[file].exports, this._tracer));
      for (const silence of this._silences.get(names[0]) || []) silence(); // a call would have two spans
    }
  }

  /** Listens to the libraries that publish their calls; what follows these is loaded with the first one. */
  _listen() {
    this._silences = new Map();
    for (const [name, names] of PUBLISHED) {
      if (!this._tracer.settings.traces(names)) continue;
      const channel = `tracing:${name}:start`;
      let started = null;
      const listener = (call) => {
        try {
          if (started === null) started = require('./patches/published.js').follow(name, this._tracer);
          started(call);
        } catch {
          // no trace of this call
        }
      };
      channels.subscribe(channel, listener);
      const silences = this._silences.get(names[0]) || [];
      this._silences.set(names[0], [...silences, () => channels.unsubscribe(channel, listener)]);
    }
  }

  _attempt(name, patch) {
    try {
      patch();
    } catch (problem) {
      report(`${name} is not traced: ${problem}`);
    }
  }
}

module.exports = { Hooks };
