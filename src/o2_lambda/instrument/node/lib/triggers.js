'use strict';

// What started an invocation: kind and name of its span, attributes, parent and links, from the event.
//
// Events are read by their shape, as AWS documents it, and an event may be anything: whoever calls `read` catches what
// an odd one throws.

const propagation = require('./propagation.js');
const { KIND } = require('./spans.js');

/** How the invocation's span is to be made. `name` "" stands for the function's own. */
class Trigger {
  constructor(trigger, { kind = KIND.SERVER, name = '', attributes = {}, parent = null, links = [], baggage = '' } = {}) {
    this.kind = kind;
    this.name = name;
    this.attributes = { 'faas.trigger': trigger, ...attributes };
    this.parent = parent;
    this.links = links;
    this.baggage = parent === null ? baggage : parent.baggage;
    this.isHttp = trigger === 'http';
  }
}

const PLAIN = new Trigger('other');

/** Recognises API Gateway (REST and HTTP), ALB, function URLs, SQS, SNS, Kinesis, DynamoDB, S3, EventBridge. */
function read(event, context, propagators, linksMax = 128) {
  if (isObject(event)) {
    const asked = event.requestContext;
    if (isObject(asked) && ('http' in asked || 'httpMethod' in event)) {
      return require('./http_events.js').read(event, asked, propagators); // only what this function is called with
    }
    const records = event.Records;
    if ((Array.isArray(records) && isObject(records[0])) || 'detail-type' in event) {
      const found = require('./message_events.js').read(event, records, propagators, linksMax);
      if (found !== null) return found;
    }
  }
  return direct(event, context, propagators);
}

/** Another function that invoked this one hands its context over in the client context; others in headers. */
function direct(event, context, propagators) {
  const client = context && context.clientContext;
  let baggage = '';
  for (const place of [client && (client.custom || client.Custom), isObject(event) ? event.headers : undefined]) {
    if (!isObject(place)) continue;
    const headers = propagation.pick(place);
    const parent = propagation.extract(headers, propagators);
    if (parent !== null) return new Trigger('other', { parent });
    baggage = baggage || propagation.baggage(headers, propagators);
  }
  return baggage === '' ? PLAIN : new Trigger('other', { baggage });
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

module.exports = { Trigger, isObject, read };
