'use strict';

// Takes our own frames out of stack traces, so that an error looks as it would without us.

const path = require('path');

const ROOT = path.dirname(__dirname) + path.sep;
const FRAME = '    at ';
const TRACKED = '.callbackTrampoline (node:internal/async_hooks'; // what following the asynchronous flow adds
const IMPORT = '    at async '; // with MACHINERY, the frame of an `import()` that waits for a module
const MACHINERY = 'node:internal/modules/esm/loader:';
const UNAWAITED = ' importModuleDynamicallyWrapper ('; // Node.js 18 has it below an `import()` of CommonJS

/**
 * Removes our frames from the error's stack. Anything may have been thrown. `receiver` is the runtime's object whose method
 * `traced` is, if any: a handler without a name has that method's, also where no frame of ours is left to tell.
 */
function dropFrames(error, receiver, traced) {
  edit(error, (lines) => {
    lines.forEach((line, index) => {
      if (index > 0 && isOwn(line)) lines[index - 1] = relabel(lines[index - 1], line);
    });
    nameMethod(lines, receiver, traced);
    return lines.filter((line) => !isOwn(line) && !line.includes(TRACKED));
  });
}

/**
 * Puts the frames with which the runtime has loaded us, and would have loaded a module of the function, in the place of
 * those with which we have loaded it.
 */
function graft(error, runtimeFrames, limit) {
  edit(error, (given) => {
    const lines = given.filter((line) => !line.includes(UNAWAITED));
    const own = lines.findIndex(isOwn);
    const head = lines.findIndex((line) => line.startsWith(FRAME));
    const last = lines[lines.length - 1];
    if (own < 0 && !(last.startsWith(IMPORT) && last.includes(MACHINERY))) return lines;
    return lines.slice(0, own < 0 ? lines.length : own).concat(runtimeFrames).slice(0, head + limit);
  });
}

/** The runtime's frames in the stack of one of our entries: what lies below Node.js's own loading of it. */
function runtimeFrames(stack) {
  const lines = stack.split('\n');
  let at = lines.reduce((found, line, index) => (isOwn(line) ? index : found), 0) + 1;
  while (at < lines.length && /[ (]node:/.test(lines[at])) at += 1;
  return lines.slice(at);
}

function isOwn(line) {
  return line.startsWith(FRAME) && line.includes(ROOT);
}

/** V8 names a method by the property that holds it, which holds our wrapper: what it calls that is the handler's. */
function relabel(line, own) {
  const [label] = line.split(' (');
  const [ownLabel] = own.split(' (');
  if (!label.endsWith('<anonymous>') && !ownLabel.startsWith(`${label} [as `)) return line;
  return ownLabel + line.slice(label.length);
}

/** The first frame without a name that has the runtime's object as its `this` is the handler. */
function nameMethod(lines, receiver, traced) {
  if (receiver === null || typeof receiver !== 'object') return;
  const name = Object.keys(receiver).find((key) => receiver[key] === traced);
  const unnamed = `${FRAME}${receiver.constructor.name}.<anonymous> (`;
  const at = name === undefined ? -1 : lines.findIndex((line) => line.startsWith(unnamed));
  if (at >= 0) lines[at] = lines[at].replace('<anonymous>', name);
}

function edit(error, change) {
  try {
    const { stack } = error;
    if (typeof stack !== 'string') return;
    const changed = change(stack.split('\n')).join('\n');
    if (changed !== stack) error.stack = changed;
  } catch {
    // a frozen error, or no object at all: it stays as it is
  }
}

module.exports = { dropFrames, graft, runtimeFrames };
