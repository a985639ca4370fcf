'use strict';

// Baggage and trace state as the OpenTelemetry API shows them, and their headers.

const ENTRIES_MAX = 64; // W3C's limit for baggage; trace state has 32
const headers = new WeakMap(); // of baggage that was read, which goes out as it came in

/** The API's Baggage: entries that never change. */
class Baggage {
  constructor(entries) {
    this._entries = entries;
  }

  getEntry(key) {
    const entry = this._entries.get(key);
    return entry === undefined ? undefined : { ...entry };
  }

  getAllEntries() {
    return [...this._entries];
  }

  setEntry(key, entry) {
    return new Baggage(new Map(this._entries).set(key, entry));
  }

  removeEntry(key) {
    return this.removeEntries(key);
  }

  removeEntries(...keys) {
    return new Baggage(new Map(this.getAllEntries().filter(([key]) => !keys.includes(key))));
  }

  clear() {
    return new Baggage(new Map());
  }
}

/** Baggage out of its header. */
function baggageOf(header) {
  const entries = new Map();
  for (const item of header.split(',').slice(0, ENTRIES_MAX)) {
    const [pair, ...metadata] = item.split(';');
    const equals = pair.indexOf('=');
    if (equals < 1) continue;
    const entry = { value: decode(pair.slice(equals + 1).trim()) };
    const text = metadata.join(';').trim();
    if (text) entry.metadata = { toString: () => text };
    entries.set(decode(pair.slice(0, equals).trim()), entry);
  }
  const baggage = new Baggage(entries);
  headers.set(baggage, header);
  return baggage;
}

/** The header of whatever the API's context has as baggage. */
function headerOf(baggage) {
  if (baggage === undefined || baggage === null || typeof baggage.getAllEntries !== 'function') return '';
  let header = headers.get(baggage);
  if (header === undefined) {
    const item = ([key, { value, metadata }]) =>
      `${encodeURIComponent(key)}=${encodeURIComponent(value)}${metadata === undefined ? '' : `;${metadata}`}`;
    header = baggage.getAllEntries().slice(0, ENTRIES_MAX).map(item).join(',');
    headers.set(baggage, header);
  }
  return header;
}

/** The API's TraceState. */
class TraceState {
  constructor(pairs) {
    this._pairs = pairs;
  }

  get(key) {
    return (this._pairs.find(([name]) => name === key) || [])[1];
  }

  set(key, value) {
    return new TraceState([[key, value], ...this.unset(key)._pairs]);
  }

  unset(key) {
    return new TraceState(this._pairs.filter(([name]) => name !== key));
  }

  serialize() {
    return this._pairs.map(([key, value]) => `${key}=${value}`).join(',');
  }
}

/** Trace state out of its header; undefined for none. */
function traceStateOf(header) {
  if (!header) return undefined;
  const items = header.split(',').map((item) => item.trim());
  return new TraceState(items.filter((item) => item.indexOf('=') > 0).map((item) => split(item, item.indexOf('='))));
}

/** The header of whatever the API's span context has as trace state. */
function stateOf(state) {
  return state && typeof state.serialize === 'function' ? String(state.serialize()) : '';
}

function split(text, at) {
  return [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

module.exports = { baggageOf, headerOf, stateOf, traceStateOf };
