'use strict';

// Events of queues, topics, streams, buckets and buses: what was processed, and links to those who sent it.

const propagation = require('./propagation.js');
const { KIND } = require('./spans.js');
const { Trigger, isObject } = require('./triggers.js');

const SCHEDULED = 'Scheduled Event';

/** The trigger of an event with records or of EventBridge; null for a source that is not known. */
function read(event, records, propagators, linksMax) {
  if (!Array.isArray(records) || records.length === 0) return eventBridge(event);
  const reader = READERS[records[0].eventSource || records[0].EventSource];
  return reader ? reader(records.filter(isObject), propagators, linksMax) : null;
}

function consumer(trigger, attributes, links = []) {
  const name = `${attributes['messaging.destination.name'] ?? 'multiple_sources'} process`;
  return new Trigger(trigger, { kind: KIND.CONSUMER, name, attributes, links });
}

function batch(system, sources, count) {
  const attributes = {
    'messaging.system': system,
    'messaging.operation.type': 'process',
    'messaging.operation.name': 'process',
    'messaging.batch.message_count': count,
  };
  if (new Set(sources).size === 1) [attributes['messaging.destination.name']] = sources;
  return attributes;
}

/** Those that there are, and one more than a span can have, which counts as dropped: a batch has up to 10,000. */
function first(records, read, linksMax) {
  const found = [];
  for (const record of records) {
    if (found.length > linksMax) break;
    const link = read(record);
    if (link !== null) found.push(link);
  }
  return found;
}

function last(arn, separator = ':') {
  return String(arn || '').split(separator).pop();
}

/** The sender's context in message attributes, whose values lie under `valueKey`. */
function linked(attributes, valueKey, propagators) {
  if (!isObject(attributes)) return null;
  const plain = {};
  for (const name of Object.keys(attributes)) {
    if (isObject(attributes[name])) plain[name] = attributes[name][valueKey];
  }
  return propagation.extract(propagation.pick(plain), propagators);
}

/** The sender's context in a notification of SNS that a queue has delivered, as JSON in the message's body. */
function linkedNotification(body, propagators) {
  if (typeof body !== 'string' || !body.includes('"MessageAttributes"') || !body.includes('"TopicArn"')) return null;
  let message;
  try {
    message = JSON.parse(body);
  } catch {
    return null; // it only looks like one
  }
  return isObject(message) ? linked(message.MessageAttributes, 'Value', propagators) : null;
}

function sqs(records, propagators, linksMax) {
  const attributes = batch('aws_sqs', records.map((record) => last(record.eventSourceARN)), records.length);
  if (records.length === 1) attributes['messaging.message.id'] = records[0].messageId;
  const sender = (record) => {
    const xray = (record.attributes || {}).AWSTraceHeader;
    const link =
      linked(record.messageAttributes, 'stringValue', propagators) || linkedNotification(record.body, propagators);
    return link === null && typeof xray === 'string' ? propagation.parseXray(xray) : link;
  };
  return consumer('pubsub', attributes, first(records, sender, linksMax));
}

function sns(records, propagators, linksMax) {
  const messages = records.map((record) => record.Sns || {});
  const attributes = batch('aws.sns', messages.map((message) => last(message.TopicArn)), records.length);
  if (messages.length === 1) attributes['messaging.message.id'] = messages[0].MessageId;
  const sender = (message) => linked(message.MessageAttributes, 'Value', propagators);
  return consumer('pubsub', attributes, first(messages, sender, linksMax));
}

function kinesis(records) {
  return consumer('pubsub', batch('aws_kinesis', records.map((item) => last(item.eventSourceARN, '/')), records.length));
}

function dynamodb(records) {
  // arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME
  const tables = records.map((record) => String(record.eventSourceARN || '').split('/')[1] || '');
  const attributes = batch('aws_dynamodb', tables, records.length);
  [attributes['faas.document.collection']] = tables;
  attributes['faas.document.operation'] = operation(records[0].eventName);
  return consumer('datasource', attributes);
}

function s3(records) {
  const details = records.map((record) => record.s3 || {});
  const buckets = details.map((detail) => String((detail.bucket || {}).name || ''));
  const attributes = batch('aws_s3', buckets, records.length);
  [attributes['faas.document.collection']] = buckets;
  attributes['faas.document.operation'] = operation(records[0].eventName);
  attributes['faas.document.time'] = records[0].eventTime;
  if (records.length === 1) attributes['faas.document.name'] = (details[0].object || {}).key;
  return consumer('datasource', attributes);
}

function eventBridge(event) {
  if (event.source === 'aws.events' && event['detail-type'] === SCHEDULED) {
    return new Trigger('timer', { attributes: { 'faas.time': event.time } });
  }
  const attributes = batch('aws_eventbridge', [String(event.source || '')], 1);
  attributes['messaging.message.id'] = event.id;
  return consumer('pubsub', attributes);
}

/** `insert`, `edit` or `delete`, from INSERT, MODIFY, REMOVE, ObjectCreated:Put, ObjectRemoved:Delete and so on. */
function operation(eventName) {
  const found = OPERATIONS.find(([start]) => String(eventName).startsWith(start));
  return found && found[1];
}

const OPERATIONS = [
  ['INSERT', 'insert'], ['MODIFY', 'edit'], ['REMOVE', 'delete'],
  ['ObjectCreated', 'insert'], ['ObjectRemoved', 'delete'], ['ObjectRestore', 'edit'],
];
const READERS = Object.assign(Object.create(null), {
  'aws:sqs': sqs, 'aws:sns': sns, 'aws:kinesis': kinesis, 'aws:dynamodb': dynamodb, 'aws:s3': s3,
});

module.exports = { read };
