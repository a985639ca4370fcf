'use strict';

// Patches the clients that the function uses: Node.js's own at the start, libraries once they are found among what has
// been loaded. Nothing hooks into loading itself: that would show in the stack trace of whatever fails to load.

const Module = require('module');

const { report } = require('./tracer.js');

const LOOKS_MAX = 8; // invocations at whose beginning libraries are looked for, beside the end of the start
// The end of a file's path, the patch, and the names that OTEL_NODE_DISABLED_INSTRUMENTATIONS knows it by.
const LIBRARIES = [
  ['/@smithy/core/dist-cjs/submodules/client/index.js', 'aws_sdk', ['aws-sdk']],
  ['/@smithy/smithy-client/dist-cjs/index.js', 'aws_sdk', ['aws-sdk']],
];

class Hooks {
  constructor(tracer, env) {
    this._tracer = tracer;
    this._looks = 0;
    this._loaded = 0;
    this._patched = new Set();
    this._own('http', ['http'], env.AWS_LAMBDA_RUNTIME_API);
    this._own('undici', ['undici'], undefined);
  }

  _own(name, names, argument) {
    if (names.some((each) => this._tracer.settings.disabled.has(each))) return;
    this._attempt(name, () => PATCHES[name]().patch(this._tracer, argument));
  }

  /** Patches what has been loaded since the last look. */
  look() {
    if (this._looks > LOOKS_MAX) return;
    this._looks += 1;
    const files = Object.keys(Module._cache);
    if (files.length === this._loaded) return;
    this._loaded = files.length;
    for (const file of files) {
      const found = LIBRARIES.find(([end]) => file.endsWith(end));
      if (found === undefined || !Module._cache[file].loaded || this._patched.has(file)) continue;
      this._patched.add(file);
      const [, name, names] = found;
      if (names.some((each) => this._tracer.settings.disabled.has(each))) continue;
      this._attempt(name, () => PATCHES[name]().patch(Module._cache[file].exports, this._tracer));
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

const PATCHES = {
  http: () => require('./patches/http.js'),
  undici: () => require('./patches/undici.js'),
  aws_sdk: () => require('./patches/aws_sdk.js'),
};

module.exports = { Hooks };
