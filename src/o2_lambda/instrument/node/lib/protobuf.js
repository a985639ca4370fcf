'use strict';

// Encodes spans as OTLP protobuf (opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto).
//
// Bytes are strings of characters up to U+00FF, which a socket takes as `latin1`: a length is there when it is due, few
// functions have to be compiled in the first invocation, and V8 joins strings by reference.
// Every value has an encoding: what OTLP has no type for becomes its text, so one odd attribute costs no span.

const { entries } = require('./spans.js');

const DEPTH_MAX = 8; // of nested lists and mappings; deeper ones, and those that contain themselves, become text
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const HAS_IS_REMOTE = 0x100; // SpanFlags
const IS_REMOTE = 0x200;
const KEPT_MAX = 128; // attributes whose last encoding is kept
const KEPT_CHARS_MAX = 256; // of their values
const { fromCharCode } = String;
const kept = new Map(); // name -> value, limit and encoding

/** Base 128, least significant group first; a whole number from 0 to 2^53. */
function varint(value) {
  let groups = '';
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) groups += fromCharCode((rest % 0x80) | 0x80);
  return groups + fromCharCode(rest);
}

/** A BigInt of 64 bits; negative numbers as two's complement. */
function bigVarint(value) {
  let groups = '';
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) groups += fromCharCode(Number(rest & 0x7fn) | 0x80);
  return groups + fromCharCode(Number(rest));
}

function fixed32(value) {
  return fromCharCode(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);
}

function fixed64(value) {
  return fixed32(Number(BigInt.asUintN(32, value))) + fixed32(Number(BigInt.asUintN(32, value >> 32n)));
}

function double(value) {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeDoubleLE(value);
  return bytes.toString('latin1');
}

/** A field with a length. */
function field(tag, content) {
  return tag + varint(content.length) + content;
}

/** A field of UTF-8; a lone surrogate, which UTF-8 does not have, becomes U+FFFD. */
function text(tag, value) {
  return field(tag, Buffer.byteLength(value) === value.length ? value : Buffer.from(value).toString('latin1'));
}

/** A field of an id in hexadecimal, of whole words of 32 bits. */
function hex(tag, value) {
  let bytes = '';
  for (let at = 0; at < value.length; at += 8) {
    const word = parseInt(value.slice(at, at + 8), 16);
    bytes += fromCharCode(word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff);
  }
  return field(tag, bytes);
}

/** The content of an AnyValue; strings are cut to `limit` characters unless that is 0. */
function anyValue(value, limit = 0, depth = DEPTH_MAX) {
  switch (typeof value) {
    case 'string':
      return text('\x0a', cut(value, limit));
    case 'boolean':
      return value ? '\x10\x01' : '\x10\x00';
    case 'number':
      if (!Number.isSafeInteger(value)) return `\x21${double(value)}`;
      return `\x18${value >= 0 ? varint(value) : bigVarint(BigInt(value))}`;
    case 'bigint':
      if (value < INT64_MIN || value > INT64_MAX) break;
      return `\x18${bigVarint(value)}`;
    case 'undefined':
      return '';
    case 'object': {
      const content = composite(value, limit, depth);
      if (content !== undefined) return content;
      break;
    }
    default:
  }
  return text('\x0a', cut(asText(value), limit));
}

/** Lists, mappings and bytes; undefined where the value is none of them. */
function composite(value, limit, depth) {
  if (value === null) return '';
  if (value instanceof Uint8Array) {
    return field('\x3a', Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1'));
  }
  if (depth === 0) return undefined;
  if (Array.isArray(value)) {
    let items = '';
    for (const item of value) items += field('\x0a', anyValue(item, limit, depth - 1));
    return field('\x2a', items);
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null && !(value instanceof Map)) return undefined;
  return field('\x32', attributes('\x0a', value, limit, depth - 1));
}

/** Repeated KeyValue fields, from a Map, an object or pairs. */
function attributes(tag, given, limit = 0, depth = DEPTH_MAX) {
  let fields = '';
  for (const [key, value] of Array.isArray(given) ? given : entries(given)) {
    const last = kept.get(key);
    const isSame = last !== undefined && last.value === value && last.limit === limit;
    fields += tag + (isSame ? last.encoded : pair(key, value, limit, depth));
  }
  return fields;
}

/** A KeyValue behind its tag. Most attributes are those of the invocation before: one is kept under each name. */
function pair(key, value, limit, depth) {
  const name = text('\x0a', typeof key === 'string' ? key : asText(key));
  const encoded = field('', name + field('\x12', anyValue(value, limit, depth)));
  const isShort = typeof value === 'string' ? value.length <= KEPT_CHARS_MAX : typeof value !== 'object';
  if (isShort && (kept.size < KEPT_MAX || kept.has(key))) kept.set(key, { value, limit, encoded });
  return encoded;
}

/** The content of a Span message. */
function span(item) {
  const { context, parent } = item;
  const limit = item.limits.valueLength;
  let content = hex('\x0a', context.traceId) + hex('\x12', context.spanId);
  if (context.state) content += text('\x1a', context.state);
  if (parent !== null) content += hex('\x22', parent.spanId);
  content += `${text('\x2a', item.name)}\x30${varint(item.kind)}\x39${fixed64(item.startNs)}\x41${fixed64(item.endNs)}`;
  content += attributes('\x4a', item.attributes, limit) + count('\x50', item.droppedAttributes);
  for (const { timeNs, name, attributes: given, dropped } of item.events) {
    const about = text('\x12', name) + attributes('\x1a', given, limit) + count('\x20', dropped);
    content += field('\x5a', `\x09${fixed64(timeNs)}${about}`);
  }
  content += count('\x60', item.droppedEvents);
  for (const given of item.links) content += field('\x6a', link(given, limit));
  content += count('\x70', item.droppedLinks);
  if (item.status) {
    const message = item.statusMessage ? text('\x12', item.statusMessage) : '';
    content += field('\x7a', `${message}\x18${varint(item.status)}`);
  }
  return `${content}\x85\x01${flags(context.flags, parent !== null && parent.remote)}`;
}

function link({ context, attributes: given, dropped }, limit) {
  const state = context.state ? text('\x1a', context.state) : '';
  const about = state + attributes('\x22', given, limit) + count('\x28', dropped);
  return `${hex('\x0a', context.traceId)}${hex('\x12', context.spanId)}${about}\x35${flags(context.flags, context.remote)}`;
}

function flags(value, remote) {
  return fixed32((value & 0xff) | HAS_IS_REMOTE | (remote ? IS_REMOTE : 0));
}

function count(tag, value) {
  return value === 0 ? '' : tag + varint(value);
}

/** The Resource of a request, as a field, from pairs. */
function resource(pairs) {
  return field('\x0a', attributes('\x0a', pairs));
}

/**
 * An ExportTraceServiceRequest of one resource, which is encoded.
 * @param {string} version of scopes that have none of their own
 * @param {Array<{scope: string, version: string | undefined, content: string}>} spans encoded
 */
function request(encodedResource, version, spans) {
  const scopes = new Map();
  for (const item of spans) {
    const own = item.version === undefined ? version : item.version;
    const scope = text('\x0a', item.scope) + (own ? text('\x12', own) : '');
    scopes.set(scope, (scopes.get(scope) || '') + field('\x12', item.content));
  }
  let content = encodedResource;
  for (const [scope, fields] of scopes) content += field('\x12', field('\x0a', scope) + fields);
  return field('\x0a', content);
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

module.exports = { request, resource, span };
