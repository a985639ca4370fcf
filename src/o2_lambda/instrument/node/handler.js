'use strict';

// The handler that the runtime is told to load, where the function's own is, or may be, CommonJS.
//
// An ES module cannot be loaded at once: then what we export is thenable, which the runtime awaits in either case.

const { enter } = require('./lib/enter.js');

const loaded = enter(module.parent);
exports.handler = loaded;
exports.then = undefined;
if (loaded instanceof Promise) {
  exports.then = (resolve, reject) => loaded.then((handler) => resolve({ handler }), reject);
}
