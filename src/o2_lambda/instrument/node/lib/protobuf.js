'use strict';

// Encodes spans as OTLP protobuf (opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto).
//
// Messages are written from their end to their beginning: a length is known when it is due, and nothing is copied.
// Every value has an encoding: what OTLP has no type for becomes its text, so one odd attribute costs no span.

const { entries } = require('./spans.js');

const DEPTH_MAX = 8; // of nested lists and mappings; deeper ones, and those that contain themselves, become text
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const HAS_IS_REMOTE = 0x100; // SpanFlags
const IS_REMOTE = 0x200;
const FIRST_BYTES = 4096;

/** A buffer that grows towards its beginning. */
class Writer {
  constructor() {
    this._buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
    this.at = FIRST_BYTES; // of the first byte written
  }

  get length() {
    return this._buffer.length - this.at;
  }

  /** A copy of what was written; the writer is empty again. */
  take() {
    const written = Buffer.from(this._buffer.subarray(this.at));
    this.at = this._buffer.length;
    return written;
  }

  clear() {
    this.at = this._buffer.length;
  }

  _reserve(count) {
    if (this.at < count) {
      const used = this.length;
      const grown = Buffer.allocUnsafeSlow(Math.max(this._buffer.length * 2, used + count));
      this._buffer.copy(grown, grown.length - used, this.at);
      this._buffer = grown;
      this.at = grown.length - used;
    }
    this.at -= count;
    return this.at;
  }

  byte(value) {
    const at = this._reserve(1);
    this._buffer[at] = value;
  }

  /** Base 128, least significant group first; a whole number from 0 to 2^53. */
  varint(value) {
    if (value < 0x80) {
      this.byte(value);
      return;
    }
    let count = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count += 1;
    let at = this._reserve(count);
    let rest = value;
    for (; count > 1; count -= 1) {
      this._buffer[at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this._buffer[at] = rest;
  }

  /** A BigInt of 64 bits; negative numbers as two's complement. */
  bigVarint(value) {
    const groups = [];
    for (let rest = BigInt.asUintN(64, value); ; rest >>= 7n) {
      groups.push(Number(rest & 0x7fn));
      if (rest < 0x80n) break;
    }
    let at = this._reserve(groups.length);
    groups.forEach((group, index) => {
      this._buffer[at++] = index + 1 < groups.length ? group | 0x80 : group;
    });
  }

  /** Characters of one byte each, as they are. */
  latin1(value) {
    const at = this._reserve(value.length);
    this._buffer.write(value, at, 'latin1');
  }

  fixed64(value) {
    const at = this._reserve(8);
    this._buffer.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  }

  fixed32(value) {
    const at = this._reserve(4);
    this._buffer.writeUInt32LE(value, at);
  }

  double(value) {
    const at = this._reserve(8);
    this._buffer.writeDoubleLE(value, at);
  }

  /** A field of UTF-8; a lone surrogate, which UTF-8 does not have, becomes U+FFFD. */
  text(tag, value) {
    const count = Buffer.byteLength(value);
    const at = this._reserve(count);
    this._buffer.write(value, at, count, 'utf8');
    this.varint(count);
    this.byte(tag);
  }

  bytes(tag, value) {
    const at = this._reserve(value.length);
    this._buffer.set(value, at);
    this.varint(value.length);
    this.byte(tag);
  }

  /** A field of an id in hexadecimal. */
  hex(tag, value) {
    const count = value.length / 2;
    const at = this._reserve(count);
    this._buffer.write(value, at, count, 'hex');
    this.byte(count);
    this.byte(tag);
  }

  /** Closes a field whose content was written since the writer's length was `before`. */
  close(tag, before) {
    this.varint(this.length - before);
    this.byte(tag);
  }
}

/** The content of an AnyValue; strings are cut to `limit` characters unless that is 0. */
function anyValue(writer, value, limit = 0, depth = DEPTH_MAX) {
  switch (typeof value) {
    case 'string':
      writer.text(0x0a, cut(value, limit));
      return;
    case 'boolean':
      writer.byte(value ? 1 : 0);
      writer.byte(0x10);
      return;
    case 'number':
      number(writer, value);
      return;
    case 'bigint':
      if (value < INT64_MIN || value > INT64_MAX) break;
      writer.bigVarint(value);
      writer.byte(0x18);
      return;
    case 'undefined':
      return;
    case 'object':
      if (composite(writer, value, limit, depth)) return;
      break;
    default:
  }
  writer.text(0x0a, cut(asText(value), limit));
}

function number(writer, value) {
  if (!Number.isSafeInteger(value)) {
    writer.double(value);
    writer.byte(0x21);
    return;
  }
  if (value >= 0) writer.varint(value);
  else writer.bigVarint(BigInt(value));
  writer.byte(0x18);
}

/** Lists, mappings and bytes; whether the value was one. */
function composite(writer, value, limit, depth) {
  if (value === null) return true;
  if (value instanceof Uint8Array) {
    writer.bytes(0x3a, value);
    return true;
  }
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    const before = writer.length;
    for (let index = value.length - 1; index >= 0; index -= 1) {
      const item = writer.length;
      anyValue(writer, value[index], limit, depth - 1);
      writer.close(0x0a, item);
    }
    writer.close(0x2a, before);
    return true;
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null && !(value instanceof Map)) return false;
  const before = writer.length;
  attributes(writer, 0x0a, value, limit, depth - 1);
  writer.close(0x32, before);
  return true;
}

/** Repeated KeyValue fields, from a Map, an object or pairs. */
function attributes(writer, tag, given, limit = 0, depth = DEPTH_MAX) {
  const pairs = Array.isArray(given) ? given : [...entries(given)];
  for (let index = pairs.length - 1; index >= 0; index -= 1) {
    const [key, value] = pairs[index];
    const before = writer.length;
    anyValue(writer, value, limit, depth);
    writer.close(0x12, before);
    writer.text(0x0a, typeof key === 'string' ? key : asText(key));
    writer.close(tag, before);
  }
}

/** The content of a Span message. */
function span(writer, item) {
  const { context, parent } = item;
  const limit = item.limits.valueLength;
  flags(writer, context.flags, parent !== null && parent.remote);
  writer.byte(0x01);
  writer.byte(0x85);
  if (item.status) {
    const before = writer.length;
    writer.byte(item.status);
    writer.byte(0x18);
    if (item.statusMessage) writer.text(0x12, item.statusMessage);
    writer.close(0x7a, before);
  }
  count(writer, 0x70, item.droppedLinks);
  for (let index = item.links.length - 1; index >= 0; index -= 1) link(writer, item.links[index], limit);
  count(writer, 0x60, item.droppedEvents);
  for (let index = item.events.length - 1; index >= 0; index -= 1) event(writer, item.events[index], limit);
  count(writer, 0x50, item.droppedAttributes);
  attributes(writer, 0x4a, item.attributes, limit);
  writer.fixed64(item.endNs);
  writer.byte(0x41);
  writer.fixed64(item.startNs);
  writer.byte(0x39);
  writer.varint(item.kind);
  writer.byte(0x30);
  writer.text(0x2a, item.name);
  if (parent !== null) writer.hex(0x22, parent.spanId);
  if (context.state) writer.text(0x1a, context.state);
  writer.hex(0x12, context.spanId);
  writer.hex(0x0a, context.traceId);
}

function event(writer, item, limit) {
  const before = writer.length;
  count(writer, 0x20, item.dropped);
  attributes(writer, 0x1a, item.attributes, limit);
  writer.text(0x12, item.name);
  writer.fixed64(item.timeNs);
  writer.byte(0x09);
  writer.close(0x5a, before);
}

function link(writer, item, limit) {
  const before = writer.length;
  flags(writer, item.context.flags, item.context.remote);
  writer.byte(0x35);
  count(writer, 0x28, item.dropped);
  attributes(writer, 0x22, item.attributes, limit);
  if (item.context.state) writer.text(0x1a, item.context.state);
  writer.hex(0x12, item.context.spanId);
  writer.hex(0x0a, item.context.traceId);
  writer.close(0x6a, before);
}

function flags(writer, value, remote) {
  writer.fixed32((value & 0xff) | HAS_IS_REMOTE | (remote ? IS_REMOTE : 0));
}

function count(writer, tag, value) {
  if (value === 0) return;
  writer.varint(value);
  writer.byte(tag);
}

/**
 * An ExportTraceServiceRequest of one resource.
 * @param {Writer} writer
 * @param {Iterable<[string, unknown]>} resource attributes
 * @param {string} version of scopes that have none of their own
 * @param {Array<{scope: string, version: string | undefined, content: Buffer}>} spans encoded
 */
function request(writer, resource, version, spans) {
  const scopes = new Map();
  for (const item of spans) {
    const own = item.version === undefined ? version : item.version;
    const key = `${item.scope}\0${own}`;
    const group = scopes.get(key);
    if (group) group.contents.push(item.content);
    else scopes.set(key, { scope: item.scope, own, contents: [item.content] });
  }
  for (const { scope, own, contents } of [...scopes.values()].reverse()) {
    const before = writer.length;
    for (let index = contents.length - 1; index >= 0; index -= 1) writer.bytes(0x12, contents[index]);
    const name = writer.length;
    if (own) writer.text(0x12, own);
    writer.text(0x0a, scope);
    writer.close(0x0a, name);
    writer.close(0x12, before);
  }
  const before = writer.length;
  attributes(writer, 0x0a, resource);
  writer.close(0x0a, before);
  writer.close(0x0a, 0);
}

function cut(value, limit) {
  return limit && value.length > limit ? value.slice(0, limit) : value;
}

function asText(value) {
  try {
    return String(value);
  } catch {
    return `<${typeof value}>`; // the object's own fault; its type is still worth knowing
  }
}

module.exports = { DEPTH_MAX, Writer, anyValue, request, span };
