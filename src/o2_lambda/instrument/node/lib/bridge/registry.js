'use strict';

// The registry of the OpenTelemetry API, which its copies share: `{ version, trace, context, propagation, … }`.
//
// A copy takes what is there when the version is not older than its own, and puts something in its place only when there
// is nothing, and under its own version exactly. So readers are shown a version above all others. Who registers, which
// is an SDK of the function's own, assigns the registry first, then looks whether the place is free, then at the version:
// it finds its own version and a free place, and we stand aside from then on.

const fs = require('fs');
const path = require('path');
const { fileURLToPath } = require('url');

const { Manager } = require('./contexts.js');
const { Propagator } = require('./propagator.js');
const { Provider } = require('./spans.js');

const TYPES = ['trace', 'context', 'propagation'];
const VERSION_FOR_READERS = '1.999.0';
const OWN = path.resolve(__dirname, '../..') + path.sep;
const FRAMES = 12; // from our accessors to the API's file
// What precedes the API's version where it lies in a file of its own, and follows it in a bundle.
const OWN_FILE = /VERSION = ['"](1\.\d+\.\d+)['"]/;
const PATTERN = '/^(\\d+)\\.(\\d+)\\.(\\d+)(-(.+))?$/';
const CONSTANT = /["'`](1\.\d+\.\d+)["'`]/g;

class Registry {
  constructor(tracer) {
    this._tracer = tracer;
    this._registering = false;
    this._foreign = {};
    this._versions = new Map(); // by file
    this._held = undefined;
    // A copy whose version is not to be told is left alone: its SDK could not register.
    if (this._version() !== undefined) {
      tracer.follows = true;
      const manager = new Manager(tracer);
      const provider = new Provider(tracer, manager, () => this._foreign.trace);
      this._hold({}, { trace: provider, context: manager, propagation: new Propagator(tracer) });
    }
  }

  /** What a copy of the API finds. */
  found() {
    return this._held;
  }

  /** What a copy of the API assigns: what it has found, or where that was nothing, a registry of its own. */
  hold(given) {
    if (given !== this._held) this._hold(given, {});
    this._registering = true;
  }

  _hold(registry, ours) {
    const own = registry.version;
    const version = () => {
      const wanted = this._registering ? this._version() : undefined;
      if (this._registering) this._watch(registry, {}); // what has been disabled since
      this._registering = false;
      return own || wanted || VERSION_FOR_READERS;
    };
    Object.defineProperty(registry, 'version', { configurable: true, enumerable: true, get: version });
    this._watch(registry, ours);
    this._held = registry;
  }

  /** Learns of what is registered where `registry` has no place for it yet; ours is found until then. */
  _watch(registry, ours) {
    for (const type of TYPES) {
      if (Object.getOwnPropertyDescriptor(registry, type) !== undefined) continue;
      const get = () => {
        if (type in this._foreign) return this._foreign[type];
        return this._registering || this._tracer.aside ? undefined : ours[type];
      };
      const set = (value) => {
        this._foreign[type] = value;
        if (type === 'trace') this._tracer.aside = true;
      };
      Object.defineProperty(registry, type, { configurable: true, enumerable: true, get, set });
    }
  }

  /** The version of the copy of the API that is asking; undefined where it is not to be found. */
  _version() {
    const file = caller();
    if (!this._versions.has(file)) this._versions.set(file, versionOf(file));
    return this._versions.get(file);
  }
}

/** The file from which our accessors are being called. */
function caller() {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = (_error, frames) => frames.map((frame) => String(frame.getFileName()));
  Error.stackTraceLimit = FRAMES;
  const files = new Error().stack;
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  const file = files.find((name) => !name.startsWith(OWN)) || '';
  return file.startsWith('file:') ? fileURLToPath(file) : file;
}

/** By the file beside it, as the package has it, or by the constant before the API's pattern for versions: a bundle. */
function versionOf(file) {
  try {
    const beside = path.join(path.dirname(file), '..', 'version.js');
    if (path.basename(file) === 'global-utils.js' && fs.existsSync(beside)) {
      return (OWN_FILE.exec(fs.readFileSync(beside, 'utf8')) || [])[1];
    }
    const text = fs.readFileSync(file, 'utf8');
    const [, found] = [...text.slice(0, text.indexOf(PATTERN)).matchAll(CONSTANT)].pop() || [];
    return found;
  } catch {
    return undefined; // code without a file
  }
}

module.exports = { Registry };
