'use strict';

// Trace context in what is sent through AWS: SQS and SNS message attributes, Lambda's client context, the trace headers of
// EventBridge and Step Functions.
//
// Nothing of the caller's is changed: what gets the context is copied. A message that has no room is sent without.

const { formatXray, inject } = require('../propagation.js');

const ATTRIBUTES_MAX = 10; // of a message, by SQS
const CLIENT_CONTEXT_CHARS_MAX = 3583; // by Lambda, of the base64 text
const SIZES_MAX = [256 * 1024, 1024 * 1024]; // bytes of a message, or of all in a batch: by SNS, by SQS
// Call -> system, where it goes, what parts the name from the rest of that, and the parameter with several messages.
const SENDS = Object.assign(Object.create(null), {
  'SQS.SendMessage': ['aws_sqs', 'QueueUrl', '/'],
  'SQS.SendMessageBatch': ['aws_sqs', 'QueueUrl', '/', 'Entries'],
  'SNS.Publish': ['aws.sns', 'TopicArn', ':'],
  'SNS.PublishBatch': ['aws.sns', 'TopicArn', ':', 'PublishBatchRequestEntries'],
});
const RECEIVES = Object.assign(Object.create(null), { 'SQS.ReceiveMessage': ['aws_sqs', 'QueueUrl', '/'] });

/** Attributes of a span that sends or receives messages, if it does. */
function describe(span, service, operation, input) {
  const call = `${service}.${operation}`;
  const about = SENDS[call] || RECEIVES[call];
  if (about === undefined) return;
  const [system, where, separator, batch] = about;
  span.set('messaging.system', system);
  span.set('messaging.operation.type', call in SENDS ? 'send' : 'receive');
  span.set('messaging.operation.name', operation);
  if (typeof input[where] === 'string') span.set('messaging.destination.name', input[where].split(separator).pop());
  if (batch && Array.isArray(input[batch])) span.set('messaging.batch.message_count', input[batch].length);
}

/** What the answer tells of messages. */
function describeAnswer(span, output) {
  const type = span.attributes.get('messaging.operation.type');
  if (type === 'send') span.set('messaging.message.id', output.MessageId);
  if (type === 'receive') span.set('messaging.batch.message_count', (output.Messages || []).length);
}

/** The parameters with the context in them; the same ones where there is no place for it. */
function withContext(service, operation, input, context, propagators) {
  const pairs = [];
  inject(context, propagators, (name, value) => pairs.push([name, value]));
  const call = `${service}.${operation}`;
  if (call in SENDS) {
    const batch = SENDS[call][3];
    if (!fits(batch ? input[batch] || [] : [input], pairs)) return input;
    if (!batch) return withAttributes(input, pairs);
    return { ...input, [batch]: (input[batch] || []).map((entry) => withAttributes(entry, pairs)) };
  }
  if (call === 'Lambda.Invoke') return withClientContext(input, pairs);
  if (call === 'SFN.StartExecution') return { traceHeader: formatXray(context), ...input };
  if (call === 'EventBridge.PutEvents') {
    const TraceHeader = formatXray(context); // the one place that leaves the event itself alone
    return { ...input, Entries: input.Entries.map((entry) => ({ TraceHeader, ...entry })) };
  }
  return input;
}

/** Whether the context is not what makes the messages too large. */
function fits(messages, pairs) {
  const size = messages.reduce((sum, message) => sum + sizeOf(message), 0);
  const added = pairs.reduce((sum, [name, value]) => sum + name.length + 'String'.length + value.length, 0);
  return !SIZES_MAX.some((most) => size <= most && size + messages.length * added > most);
}

/** Bytes of the body and of the attributes with their names and types. */
function sizeOf({ MessageBody, Message, MessageAttributes }) {
  const parts = [MessageBody || Message || ''];
  for (const [name, { DataType = '', StringValue, BinaryValue }] of Object.entries(MessageAttributes || {})) {
    parts.push(name, DataType, StringValue || BinaryValue || '');
  }
  return parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
}

function withAttributes(message, pairs) {
  const given = message.MessageAttributes || {};
  const room = Math.max(0, ATTRIBUTES_MAX - Object.keys(given).length);
  const added = pairs.filter(([name]) => !(name in given)).slice(0, room); // the trace before its state and baggage
  if (added.length === 0) return message;
  const attributes = { ...given };
  for (const [name, value] of added) attributes[name] = { DataType: 'String', StringValue: value };
  return { ...message, MessageAttributes: attributes };
}

function withClientContext(input, pairs) {
  const content = input.ClientContext ? JSON.parse(Buffer.from(input.ClientContext, 'base64').toString()) : {};
  content.custom = { ...Object.fromEntries(pairs), ...content.custom };
  const encoded = Buffer.from(JSON.stringify(content)).toString('base64');
  return encoded.length <= CLIENT_CONTEXT_CHARS_MAX ? { ...input, ClientContext: encoded } : input;
}

module.exports = { SENDS, describe, describeAnswer, withContext };
