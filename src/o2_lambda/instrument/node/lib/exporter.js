'use strict';

// Sends encoded spans to the OTLP receiver on this machine, without ever holding the function.
//
// A request is written and not waited for; its answer is read when it comes. When the receiver cannot be reached,
// refuses or does not answer, exports are skipped: once, then 2, 4 … times, while the spans wait in a bounded queue.
// The first attempt after that is a small one, and nothing waits for it. The socket never keeps the event loop alive,
// except while a write is waited for, which is bounded.

const fs = require('fs');
const net = require('net');

const CONNECT_LIMIT_MS = 250; // loopback answers in microseconds, or the machine is starved
const SEND_LIMIT_MS = 100; // only a receiver that has stopped reading fills the socket's buffer
const QUEUE_SPANS_MAX = 2048; // the SDKs' default
const QUEUE_BYTES_MAX = 1024 * 1024; // of the function's own memory
const BATCH_SPANS_MAX = 512; // the SDKs' default; a queue this long is sent at once
const PROBE_SPANS_MAX = 32; // the attempt that may fail again encodes little
const UNANSWERED_MAX = 16; // requests under way; what comes then waits in the queue for an answer
const ANSWER_LIMIT_MS = 1000; // without one after the last of them, or after the one that probes: the receiver hangs
const SKIP_MAX = 256;
const READ_BYTES = 4096;
const ANSWER_CHARS_MAX = 16 * 1024; // of answers not parsed yet; one is some 100 bytes
const MESSAGE_PATH = '/v1/invocation';

/** A queue and one keep-alive connection. `codec` encodes spans and requests; `clockMs` is monotonic. */
class Exporter {
  constructor({ address, announces, codec, clockMs, report }) {
    this._address = address;
    this._announces = announces;
    this._head =
      `POST ${address.path} HTTP/1.1\r\nHost: ${this._place()}\r\n` +
      'Content-Type: application/x-protobuf\r\nContent-Length: ';
    this._codec = codec;
    this._clockMs = clockMs;
    this._report = report;
    this._queue = [];
    this._queueBytes = 0;
    this.dropped = 0;
    this._told = 0; // of them
    this._refused = false; // by a status that no later attempt would change
    this._socket = null;
    this._connected = false;
    this._settled = null; // called once the connection stands or has failed, where somebody waits for that
    this._messages = []; // about invocations; they wait for the connection
    this._timer = null;
    this._answers = '';
    this._inFlight = []; // spans in each request that has no answer, in order; 0 for a message
    this._sentMs = 0;
    this._failures = 0; // in a row
    this._skip = 0;
  }

  /** Queues a span; drops and counts it when the queue is full. */
  add(span) {
    const content = this._codec.span(span);
    if (this._queue.length >= QUEUE_SPANS_MAX || this._queueBytes + content.length > QUEUE_BYTES_MAX) {
      this.dropped += 1;
      return;
    }
    this._queue.push({ scope: span.scope, version: span.scopeVersion, content });
    this._queueBytes += content.length;
    if (this._queue.length >= BATCH_SPANS_MAX && this._connected && this._failures === 0) this.flush();
  }

  /** Opens the connection, if there is none, so that nothing has to be waited for when there is something to send. */
  connect() {
    if (this._socket === null) this._connect();
  }

  /** Tells the extension which trace belongs to a request that has just begun. */
  announce(requestId, context) {
    if (this._failures > 0) return;
    if (this._announces && this._inFlight.length + this._messages.length < UNANSWERED_MAX) {
      const body = `${requestId} ${context.traceId} ${context.spanId}`;
      this._messages.push(
        `POST ${MESSAGE_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n` +
          `Content-Length: ${body.length}\r\n\r\n${body}`,
      );
    }
    if (this._connected) this._tell();
    else this.connect();
  }

  /**
   * Sends what is queued, unless exports are being skipped. A promise, which never fails, where the function's answer
   * has to wait for it: until there is a connection, or where the receiver does not read. After a failure none does.
   * @returns {Promise<void> | undefined}
   */
  flush() {
    if (this._queue.length === 0) return undefined;
    if (this._skip > 0) {
      this._skip -= 1;
      return undefined;
    }
    try {
      if (this._inFlight.length >= (this._failures > 0 ? 1 : UNANSWERED_MAX)) {
        if (this._clockMs() - this._sentMs > ANSWER_LIMIT_MS) this._fail('no answer');
        return undefined;
      }
      this.connect();
      if (this._connected) return this._send();
      return this._failures > 0 ? undefined : this._afterConnect();
    } catch (error) {
      this._fail(error.message);
      return undefined;
    }
  }

  /**
   * At the exit of the process: what is left goes where a connection stands, and where the loop has not come to tell us
   * so: that is how a process ends in its first invocation.
   */
  close() {
    if (this._connected) this.flush();
    else if (this._socket !== null && this._queue.length > 0 && this._failures === 0) {
      const request = this._takeMessages() + this._takeRequest(BATCH_SPANS_MAX);
      fs.writeSync(this._socket._handle.fd, request, null, 'latin1');
    }
  }

  _tell() {
    if (this._messages.length > 0) this._write(this._takeMessages());
  }

  _takeMessages() {
    const text = this._messages.join('');
    for (const _ of this._messages) this._inFlight.push(0);
    this._messages = [];
    return text;
  }

  _connect() {
    // With a buffer of ours nothing of streams is made ready to read: answers are few, small and looked at once.
    const callback = (count, buffer) => {
      if (this._socket === socket) this._read(socket, buffer.toString('latin1', 0, count));
      return true;
    };
    const onread = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), callback };
    const socket = net.connect({ host: this._address.host, port: this._address.port, noDelay: true, onread });
    this._socket = socket;
    socket.unref();
    socket.on('connect', () => {
      if (this._socket !== socket) return;
      this._connected = true;
      if (this._settled !== null) this._settle();
      else if (this._failures > 0 && this._queue.length > 0) this._send();
      else this._tell();
    });
    socket.on('error', (error) => this._lost(socket, error.code || error.message));
    socket.on('close', () => this._lost(socket, 'connection closed without an answer'));
  }

  /** The socket is of no use any more; that is a failure only where something was expected of it. */
  _lost(socket, reason) {
    if (this._socket !== socket) return;
    const expected = this._inFlight.length > 0 || (!this._connected && this._queue.length > 0);
    if (expected) this._fail(reason);
    else this._disconnect();
  }

  _afterConnect() {
    const socket = this._socket;
    socket.ref();
    const lost = () => this._lost(socket, `not connected within ${CONNECT_LIMIT_MS} ms`);
    this._timer = setTimeout(lost, CONNECT_LIMIT_MS);
    return new Promise((resolve) => {
      this._settled = resolve;
    }).then(() => {
      if (!this._connected) return undefined;
      this._socket.unref();
      return this._send();
    });
  }

  _settle() {
    const settled = this._settled;
    this._settled = null;
    clearTimeout(this._timer);
    if (settled !== null) settled();
  }

  /** Writes all that is queued; while exports are failing, one small request. What is to be told goes before it. */
  _send() {
    const socket = this._socket;
    let messages = this._takeMessages();
    do {
      const request = this._takeRequest(this._failures > 0 ? PROBE_SPANS_MAX : BATCH_SPANS_MAX);
      this._sentMs = this._clockMs();
      this._write(messages + request);
      messages = '';
    } while (this._queue.length > 0 && this._failures === 0 && socket.writableLength === 0);
    // Nothing is left in the stream where the kernel took everything at once.
    if (socket.writableLength === 0) return undefined;
    if (this._failures === 0) return this._drained(socket);
    this._fail('it does not read');
    return undefined;
  }

  /** A request of the first spans that are queued, which counts as sent. */
  _takeRequest(spansMax) {
    const batch = this._queue.slice(0, spansMax);
    const request = this._codec.request(batch, this._head);
    this._queue.splice(0, batch.length);
    for (const item of batch) this._queueBytes -= item.content.length;
    this._inFlight.push(batch.length);
    return request;
  }

  /**
   * Hands `text` to the kernel at once; what that does not take waits in the stream, which also finds out what is wrong.
   * Nothing of streams has to be compiled where the kernel takes everything.
   */
  _write(text) {
    const socket = this._socket;
    let taken = 0;
    try {
      if (socket.writableLength === 0) taken = fs.writeSync(socket._handle.fd, text, null, 'latin1');
    } catch {
      // there is no room now, or no connection any more
    }
    if (taken < text.length) socket.write(text.slice(taken), 'latin1');
  }

  _drained(socket) {
    socket.ref();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this._lost(socket, 'it does not read');
        resolve();
      }, SEND_LIMIT_MS);
      socket.write('', () => {
        clearTimeout(timer);
        socket.unref();
        resolve();
      });
    });
  }

  _read(socket, text) {
    this._answers += text;
    for (;;) {
      const end = this._answers.indexOf('\r\n\r\n');
      if (end < 0) break;
      const head = this._answers.slice(0, end);
      const match = /\r\ncontent-length:[ \t]*(\d+)/i.exec(head);
      const total = end + 4 + (match === null ? 0 : Number(match[1]));
      if (this._answers.length < total) break;
      this._answers = this._answers.slice(total);
      this._answered(head.slice(9, 12));
      if (this._socket !== socket) return;
    }
    if (this._answers.length > ANSWER_CHARS_MAX) this._fail('the answer is not HTTP');
  }

  _answered(status) {
    const spans = this._inFlight.shift();
    if (spans === 0) {
      if (status !== '200') this._announces = false; // a collector that knows nothing of invocations
      return;
    }
    if (status.startsWith('2')) {
      if (this._failures > 0 || this.dropped > this._told) this._recovered();
      return;
    }
    this.dropped += spans || 0;
    if (status === '429' || status.startsWith('5')) this._fail(`status ${status}`);
    else if (!this._refused) {
      this._refused = true;
      this._report(`${this._place()} refuses traces (status ${status})`);
    }
  }

  _recovered() {
    const lost = `${this.dropped - this._told} spans were dropped`;
    const again = `traces reach ${this._place()} again; ${lost}`;
    this._report(this._failures > 0 ? again : `${lost}: they did not fit into the queue, or were refused`);
    this._told = this.dropped;
    this._failures = 0;
  }

  _place() {
    return `${this._address.host}:${this._address.port}`;
  }

  _fail(reason) {
    for (const spans of this._inFlight) this.dropped += spans;
    this._disconnect();
    this._failures += 1;
    this._skip = Math.min(2 ** (this._failures - 1), SKIP_MAX);
    if (this._failures === 1) {
      this._report(`traces do not reach ${this._place()} (${reason}): the function goes on, export is tried again`);
    }
  }

  _disconnect() {
    const socket = this._socket;
    this._socket = null;
    this._connected = false;
    this._answers = '';
    this._messages = [];
    this._inFlight = [];
    if (socket !== null) socket.destroy();
    this._settle();
  }
}

module.exports = { Exporter, PROBE_SPANS_MAX, QUEUE_BYTES_MAX, QUEUE_SPANS_MAX };
