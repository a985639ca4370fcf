'use strict';

// The span of an invocation, around the function's handler: same arguments, result, errors, arity and properties.

const { STATUS } = require('./spans.js');
const { Frame, report } = require('./tracer.js');
const { SCOPE } = require('./version.js');

const SERVER_ERROR = 500; // and above
const ACCOUNT_FIELD = 4; // of arn:aws:lambda:REGION:ACCOUNT:function:NAME
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const OWN_FRAMES = 1; // that `traced` adds to the stack of what the handler does before its first await

/** One invocation until its end, which may come by several ways: a promise, a callback, an empty event loop. */
class Invocation {
  constructor(tracer, span, isHttp) {
    this.tracer = tracer;
    this.span = span;
    this.isHttp = isHttp;
    this.frame = new Frame(span, undefined);
    this.receiver = undefined; // the object of the runtime that calls the handler as its method
    this.traced = undefined; // what it calls
    this.ended = false;
    this.promised = () => {}; // called when the answer turns out to be a promise
  }

  /** Ends the span, once; a promise where the answer has to wait for the export. */
  end(failed, value) {
    if (this.ended) return undefined;
    this.ended = true;
    const { tracer, span } = this;
    try {
      if (failed) {
        require('./stacks.js').dropFrames(value, this.receiver, this.traced);
        tracer.recordError(span, value);
      } else if (this.isHttp) describeAnswer(span, value);
      tracer.end(span);
      if (tracer.invocation === span) tracer.invocation = null;
      return tracer.exporter.flush();
    } catch (problem) {
      report(`the trace of this invocation is incomplete: ${problem}`);
      return undefined;
    }
  }
}

/** Makes a span for each invocation of one handler. */
class Invocations {
  /** `openHooks` makes what patches clients, when it is needed first: no calls are traced before. */
  constructor(tracer, openHooks) {
    this._tracer = tracer;
    this._openHooks = openHooks;
    this._hooks = null;
    // An environment that is kept ready has started for nobody's invocation.
    this._cold = process.env.AWS_LAMBDA_INITIALIZATION_TYPE !== 'provisioned-concurrency';
    this._open = new Set();
    this._arn = undefined; // of the last invocation, and the account that is in it
    this._account = undefined;
  }

  /** The handler with a span around it. */
  wrap(handler) {
    const invocations = this;
    const { flow } = this._tracer;
    const { concurrent } = this._tracer.settings;
    // Once the runtime has asked for its first event, for which it has to wait in any case, and before that can come: a
    // tick passes when its promises have been followed, and what it does next is queued.
    process.nextTick(() => setImmediate(() => this._ready()));
    const streaming = Boolean(handler[STREAMING]);
    const traced = function (...given) {
      const invocation = invocations._begin(given[0], given[streaming ? 2 : 1]);
      // What runs outside of any flow belongs to the running invocation, where only one runs: following the flow costs
      // every promise of the function something. A runtime may call from where an earlier invocation has called it.
      const before = flow.getStore();
      const follows = invocation !== null && (concurrent || before !== undefined);
      const limit = Error.stackTraceLimit;
      let answer;
      if (invocation !== null) {
        invocation.receiver = this;
        invocation.traced = traced;
        if (!streaming) invocations._watch(invocation, given);
        if (follows) flow.enterWith(invocation.frame);
      }
      if (typeof limit === 'number') Reflect.set(Error, 'stackTraceLimit', limit + OWN_FRAMES); // unless it is frozen
      try {
        answer = handler.apply(this, given);
      } catch (error) {
        const wait = invocation === null ? undefined : invocations._end(invocation, true, error);
        if (wait !== undefined) return wait.then(() => Promise.reject(error));
        throw error;
      } finally {
        if (Error.stackTraceLimit === limit + OWN_FRAMES) Error.stackTraceLimit = limit;
        if (follows) flow.enterWith(before);
      }
      return invocation === null ? answer : invocations._answer(invocation, answer, given);
    };
    return imitate(traced, handler);
  }

  /** Ends what is still open: the event loop is empty or the process exits, and nobody has answered. */
  abandon() {
    for (const invocation of this._open) this._end(invocation, false, undefined);
    this._tracer.close();
  }

  /** Makes ready what only invocations need. Never throws. */
  _ready() {
    this._tracer.connect();
    try {
      this._look();
    } catch (problem) {
      report(`calls are not traced: ${problem}`);
    }
  }

  _look() {
    if (this._hooks === null) this._hooks = this._openHooks();
    this._hooks.look();
  }

  _begin(event, context) {
    const tracer = this._tracer;
    try {
      if (tracer.aside) return null;
      this._look();
      const trigger = readTrigger(event, context, tracer.settings);
      const { kind, parent } = trigger;
      const span = tracer.start(trigger.name || context.functionName, { kind, scope: SCOPE, parent });
      span.context.baggage = trigger.baggage;
      this._describe(span, trigger, context);
      if (span.recording) tracer.exporter.announce(context.awsRequestId, span.context);
      const invocation = new Invocation(tracer, span, trigger.isHttp);
      tracer.invocation = this._open.size === 0 ? span : null;
      this._open.add(invocation);
      return invocation;
    } catch (problem) {
      report(`this invocation has no trace: ${problem}`);
      return null;
    }
  }

  _describe(span, trigger, context) {
    const arn = context.invokedFunctionArn;
    span.set('faas.invocation_id', context.awsRequestId);
    span.set('faas.coldstart', this._cold);
    this._cold = false;
    span.set('cloud.resource_id', arn);
    span.set('aws.lambda.invoked_arn', arn);
    if (arn !== this._arn) {
      this._arn = arn;
      this._account = String(arn).split(':')[ACCOUNT_FIELD];
    }
    span.set('cloud.account.id', this._account);
    span.setAll(trigger.attributes);
    for (const link of trigger.links) span.addLink(link, {});
    const header = context.xRayTraceId || process.env._X_AMZN_TRACE_ID;
    const xray = header ? require('./propagation.js').parseXray(header) : null;
    if (xray !== null) {
      span.set('aws.xray.trace_id', /Root=([^;]*)/.exec(header)[1]);
      span.addLink(xray, { source: 'x-ray-env' });
    }
  }

  /** Older runtimes take the answer through a callback, or through methods of the context. */
  _watch(invocation, given) {
    const [, context, callback] = given;
    if (typeof callback !== 'function') return;
    const through = (answer, settle) => (...values) => {
      const wait = settle(values);
      if (wait === undefined) answer(...values);
      else wait.then(() => answer(...values));
    };
    const errorFirst = ([error, value]) => {
      const failed = error !== undefined && error !== null;
      return this._end(invocation, failed, failed ? error : value);
    };
    const { done, succeed, fail } = context;
    given[2] = through(callback, errorFirst);
    if (typeof succeed !== 'function') return;
    context.done = through(done, errorFirst);
    context.succeed = through(succeed, ([value]) => this._end(invocation, false, value));
    context.fail = through(fail, ([value]) => this._end(invocation, true, value));
    // The runtime itself uses these for what a promise brings.
    invocation.promised = () => Object.assign(context, { done, succeed, fail });
  }

  _answer(invocation, answer, given) {
    if (answer !== null && answer !== undefined && typeof answer.then === 'function') {
      invocation.promised();
      return Promise.resolve(answer).then(
        (value) => {
          const wait = this._end(invocation, false, value);
          return wait === undefined ? value : wait.then(() => value);
        },
        (error) => {
          const wait = this._end(invocation, true, error);
          if (wait === undefined) throw error;
          return wait.then(() => Promise.reject(error));
        },
      );
    }
    if (typeof given[2] === 'function') return answer; // the callback is still to come
    const wait = this._end(invocation, false, answer);
    return wait === undefined ? answer : wait.then(() => answer);
  }

  _end(invocation, failed, value) {
    this._open.delete(invocation);
    return invocation.end(failed, value);
  }
}

/** Gives the wrapper everything by which a handler is told apart: arity, name, marks, and whether it is async. */
function imitate(traced, handler) {
  try {
    Object.setPrototypeOf(traced, Object.getPrototypeOf(handler));
    const { prototype, ...properties } = Object.getOwnPropertyDescriptors(handler);
    Object.defineProperties(traced, properties);
  } catch (problem) {
    report(`the handler's properties are not all kept: ${problem}`);
  }
  return traced;
}

function readTrigger(event, context, { extracts, limits }) {
  const triggers = require('./triggers.js'); // once the first event is asked for
  try {
    return triggers.read(event, context, extracts, limits.links);
  } catch {
    return new triggers.Trigger('other'); // an event that looks like one of AWS's and is not
  }
}

function describeAnswer(span, answer) {
  let status = answer !== null && typeof answer === 'object' ? answer.statusCode : undefined;
  if (typeof status === 'string' && /^\d+$/.test(status)) status = Number(status);
  if (!Number.isInteger(status)) return;
  span.set('http.response.status_code', status);
  if (status < SERVER_ERROR) return;
  span.set('error.type', String(status));
  span.setStatus(STATUS.ERROR);
}

module.exports = { Invocations };
