'use strict';

// Loads the function's own handler as the runtime would have done, by the rules of AWS's runtime interface client.
//
// There are two generations of it. The older one (Node.js 18 to 22 on Lambda) loads CommonJS with `require` and ES
// modules with `import`; the newer one imports everything. Which one runs is told by how it has loaded our entry.

const fs = require('fs');
const { createRequire } = require('module');
const path = require('path');

const OLDER_CLIENT = ' _tryAwaitImport ('; // the function in it that imports ES modules
const HANDLER = /^([^.]*)\.(.*)$/;

/** A handler's name, `folder/module.function.of.it`, taken apart; null where it is none. */
function parse(name) {
  const base = path.basename(name);
  const match = HANDLER.exec(base);
  if (match === null || name.includes('..')) return null;
  return { folder: name.slice(0, name.indexOf(base)), module: match[1], members: match[2] };
}

class Loader {
  /**
   * @param {string} root the function's folder
   * @param {NodeModule | undefined} parent what has required our entry; none where it was imported
   * @param {Error} trail made in our entry: its stack tells how the runtime has loaded it
   */
  constructor(root, parent, trail) {
    this._root = root;
    this._runtime = parent ? parent.filename : process.argv[1];
    this._imported = !parent;
    this._trail = trail;
  }

  /** The handler, or a promise of it; whatever is there instead where it is not a function. */
  load(name) {
    const { folder, module, members } = parse(name);
    const file = path.resolve(this._root, folder, module);
    const find = (exported) => this._find(exported, members);
    try {
      const loaded = this._load(file, folder, module);
      return loaded instanceof Promise ? loaded.then(find, (error) => this._failed(error)) : find(loaded);
    } catch (error) {
      return this._failed(error);
    }
  }

  _load(file, folder, module) {
    for (const suffix of ['', '.js', '.mjs', '.cjs']) {
      if (!fs.existsSync(file + suffix)) continue;
      const imported = this._imported || suffix === '.mjs' || (suffix === '.js' && isModule(path.dirname(file)));
      if (imported) return import(file + suffix);
      const require = createRequire(this._runtime); // its stack traces and complaints are then the runtime's
      return require(file + suffix);
    }
    const require = createRequire(this._runtime);
    const folders = [this._root, this._imported ? path.join(this._root, folder) : folder];
    return require(require.resolve(module, { paths: folders }));
  }

  _failed(error) {
    const { graft, runtimeFrames } = require('./stacks.js');
    graft(error, runtimeFrames(this._trail.stack), Error.stackTraceLimit);
    throw error;
  }

  _find(exported, members) {
    const follow = (from, leads) =>
      members.split('.').reduce((at, name) => (leads(at) ? at[name] : undefined), from);
    const found = follow(exported, isObject);
    if (found) return found; // by either rule
    if (!this._isNewer()) return follow(exported, Boolean);
    return isObject(exported) && 'default' in exported ? follow(exported.default, isObject) : found;
  }

  /** Which of the two rules for members holds; they differ only where one finds no handler. */
  _isNewer() {
    return this._imported && !this._trail.stack.includes(OLDER_CLIENT);
  }
}

function isObject(value) {
  return value !== null && typeof value === 'object';
}

/** Whether the nearest package.json makes `.js` files ES modules. */
function isModule(folder) {
  if (folder.endsWith('/node_modules')) return false;
  const file = path.join(folder, 'package.json');
  if (fs.existsSync(file)) {
    try {
      return JSON.parse(fs.readFileSync(file, 'utf8')).type === 'module';
    } catch {
      return false;
    }
  }
  return folder !== '/' && isModule(path.dirname(folder));
}

module.exports = { Loader };
