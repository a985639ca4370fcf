'use strict';

// Puts together what sends spans. Nothing of it is loaded before the runtime asks for its first event.

const { address } = require('./address.js');
const { Exporter } = require('./exporter.js');
const protobuf = require('./protobuf.js');
const resource = require('./resource.js');
const { VERSION } = require('./version.js');

const NS_PER_MS = 1_000_000n;

/** Encodes spans, and requests of several of them, as strings of bytes. */
class Codec {
  constructor(env) {
    this._env = env;
    this._resource = '';
  }

  span(span) {
    return protobuf.span(span);
  }

  /** A request of encoded spans: `head`, which the body's length completes, and the body. */
  request(spans, head) {
    if (this._resource === '') this._resource = protobuf.resource(resource.attributes(this._env));
    const body = protobuf.request(this._resource, VERSION, spans);
    return `${head}${body.length}\r\n\r\n${body}`;
  }
}

/** The exporter to the receiver that the environment names. */
function open(env, report) {
  // Not `performance`, which Node.js loads where it is first used: nine modules.
  const clockMs = () => Number(process.hrtime.bigint() / NS_PER_MS);
  return new Exporter({ ...address(env), codec: new Codec(env), clockMs, report });
}

module.exports = { open };
