'use strict';

// Puts together what sends spans. Nothing of it is loaded before the first invocation, and then while the function
// waits for something, where it does.

const { address } = require('./address.js');
const { Exporter } = require('./exporter.js');
const { Writer, request, span: encodeSpan } = require('./protobuf.js');
const resource = require('./resource.js');
const { VERSION } = require('./version.js');

/** Encodes spans, and requests of several of them. */
class Codec {
  constructor(env) {
    this._env = env;
    this._writer = new Writer();
    this._resource = null;
  }

  span(span) {
    return this._written((writer) => encodeSpan(writer, span));
  }

  /** A request of encoded spans: `head`, which it completes by the body's length, and the body. */
  request(spans, head) {
    if (this._resource === null) this._resource = resource.attributes(this._env);
    return this._written((writer) => {
      request(writer, this._resource, VERSION, spans);
      writer.latin1(`${head}${writer.length}\r\n\r\n`);
    });
  }

  _written(write) {
    try {
      write(this._writer);
      return this._writer.take();
    } catch (problem) {
      this._writer.clear();
      throw problem;
    }
  }
}

/** The exporter to the receiver that the environment names. */
function open(env, report) {
  const clockMs = () => Math.floor(performance.now());
  return new Exporter({ ...address(env), codec: new Codec(env), clockMs, report });
}

module.exports = { open };
