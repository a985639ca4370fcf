// A function that calls databases and servers; the event says which, and where they listen. Every scene runs below a span
// of the function's own, which a call that has lost its context would not know.
const { context, trace } = require('@opentelemetry/api');

const tracer = trace.getTracer('scenes');
const key = Symbol('call'); // of a value that each call has in a context of its own
const refused = (promise) => promise.then(() => 'no error', ({ message, code, errno, stack }) => {
  return { message: message.slice(0, 20), code: code ?? errno, own: String(stack).includes('/o2/node/') };
});
const called = (start) => new Promise((resolve) => {
  context.with(context.active().setValue(key, start), () => start((error, value) => {
    resolve([error ? error.message : value, context.active().getValue(key) === start]);
  }));
});

async function pg({ postgresql: port }) {
  const { Client, Pool, Query } = require('pg');
  const where = { host: '127.0.0.1', port, user: 'shop', database: 'postgres' };
  const client = new Client(where);
  await client.connect();
  await client.query('/* first */ CREATE TEMPORARY TABLE orders (number int)');
  await client.query({ text: 'INSERT INTO orders VALUES ($1)', values: [7] });
  const error = await refused(client.query('SELECT nothing FROM orders'));
  const callback = await called((done) => client.query('SELECT number FROM orders', (e, r) => done(e, r && r.rows)));
  const rows = await new Promise((resolve) => {
    const query = client.query(new Query('SELECT 8 AS number'));
    const found = [];
    query.on('row', (row) => found.push(row.number)).on('end', () => resolve(found));
  });
  await client.end();
  const pool = new Pool({ ...where, max: 1 });
  const pooled = await Promise.all([1, 2].map((n) => called((done) =>
    pool.query('SELECT $1::int AS n', [n], (e, r) => done(e, r && r.rows[0].n)))));
  const promised = (await pool.query('SELECT 9 AS n')).rows[0].n;
  await pool.end();
  return { error, callback, rows, pooled, promised };
}

async function mysql2({ mysql: port }) {
  const mysql = require('mysql2');
  const promises = require('mysql2/promise');
  const where = { host: '127.0.0.1', port, user: 'root', database: 'shop' };
  const connection = await promises.createConnection(where);
  await connection.query('CREATE TEMPORARY TABLE orders (number int)');
  await connection.execute('INSERT INTO orders VALUES (?)', [7]);
  const error = await refused(connection.query('SELECT nothing FROM orders'));
  const [[row]] = await connection.query('SELECT ? AS secret', ['value']);
  await connection.end();
  const plain = mysql.createConnection(where);
  const callback = await called((done) => plain.query('SELECT 1 AS n', (e, r) => done(e, r && r[0].n)));
  const streamed = await new Promise((resolve, reject) => {
    const found = [];
    plain.query('SELECT 2 AS n').on('result', (r) => found.push(r.n)).on('error', reject).on('end', () => resolve(found));
  });
  plain.end();
  const pool = mysql.createPool({ ...where, connectionLimit: 1 });
  const pooled = await Promise.all([3, 4].map((n) => called((done) =>
    pool.query('SELECT ? AS n', [n], (e, r) => done(e, r && r[0].n)))));
  const [[executed]] = await pool.promise().execute('SELECT ? AS n', [5]);
  await pool.promise().end();
  return { error, row: row.secret, callback, streamed, pooled, executed: executed.n };
}

async function ioredis({ redis: port, from = 'ioredis' }) {
  const { Redis } = require(from);
  const client = new Redis({ host: '127.0.0.1', port, db: 1 });
  await client.set('key', 'secret');
  const error = await refused(client.incr('key'));
  const callback = await called((done) => client.get('key', done));
  const piped = await client.pipeline().get('key').incr('count').exec();
  const multi = await client.multi().set('other', 'secret').get('other').exec();
  await client.quit();
  return { error, callback, piped: piped[0][1], multi: multi[1][1] };
}

async function redis({ redis: port, from = '@redis/client' }) {
  const client = require(from).createClient({ socket: { host: '127.0.0.1', port }, database: 2 });
  await client.connect();
  await client.set('key', 'secret');
  const error = await refused(client.incr('key'));
  const raw = await client.sendCommand(['GET', 'key']);
  const multi = await client.multi().set('other', 'secret').get('other').exec();
  const piped = await client.multi().get('key').execAsPipeline();
  await client.select(3);
  const absent = await client.get('key');
  await client.quit();
  return { error, raw, multi: multi[1], piped: piped[0], absent };
}

async function mongodb({ mongodb: port }) {
  const { MongoClient } = require('mongodb');
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, { serverApi: '1' });
  const orders = client.db('shop').collection('orders');
  await orders.insertOne({ number: 7, secret: 'x' });
  const error = await refused(client.db('shop').command({ refused: 1 }));
  const found = await orders.findOne({ number: 7 });
  const all = await orders.find({}).toArray();
  await client.close();
  return { error, found: found.number, all: all.length };
}

const ask = (url, options = {}) => new Promise((resolve, reject) => {
  const request = require('http').request(url, options, (answer) => {
    answer.resume();
    answer.on('end', () => resolve(answer.statusCode));
  });
  request.on('error', reject);
  request.end(options.body);
});

async function http({ url, closed }) {
  await ask(`${url}/http?a=1`);
  await ask(`${url}/http`, { method: 'POST', body: 'x' });
  await ask(`${url}/missing`);
  await refused(ask(`http://127.0.0.1:${closed}/`));
}

async function undici({ url, closed }) {
  await (await fetch(`${url}/fetch?a=1`)).text();
  await (await fetch(`${url}/missing`, { method: 'POST', body: 'x' })).text();
  await refused(fetch(`http://127.0.0.1:${closed}/`));
}

async function aws({ url }) {
  const send = (name, client, command, input, endpoint = url) => {
    const sdk = require(`@aws-sdk/client-${name}`);
    return new sdk[`${client}Client`]({ endpoint, region: 'us-east-1', maxAttempts: 1 }).send(new sdk[`${command}Command`](input)).catch(() => 'no answer');
  };
  const topic = 'arn:aws:sns:us-east-1:123456789012:news';
  await send('sqs', 'SQS', 'ReceiveMessage', { QueueUrl: `${url}/1/orders` });
  await send('sqs', 'SQS', 'SendMessage', { QueueUrl: `${url}/1/orders`, MessageBody: 'm' });
  await send('sns', 'SNS', 'Publish', { TopicArn: topic, Message: 'm' });
  await send('lambda', 'Lambda', 'Invoke', { FunctionName: 'other', Payload: '{}' });
  await send('eventbridge', 'EventBridge', 'PutEvents', { Entries: [{ Source: 's', DetailType: 'd', Detail: '{}' }] });
  await send('sqs', 'SQS', 'DeleteQueue', { QueueUrl: `${url}/missing` }, `${url}/missing`);
}

const SCENES = { pg, mysql2, ioredis, redis, mongodb, http, undici, aws };
const LOADED = {
  pg: 'pg', mysql2: 'mysql2/promise', ioredis: 'ioredis', redis: '@redis/client', mongodb: 'mongodb', http: 'http',
  aws: '@aws-sdk/client-sqs',
};
const { FROM, LOADS = '' } = process.env;
for (const scene of LOADS.split(',')) {
  if (FROM || LOADED[scene]) require(FROM || LOADED[scene]); // at the start, as functions do
}

exports.handler = async (event) => {
  if (!event.do) return { statusCode: 200, body: '' };
  return tracer.startActiveSpan('scene', async (span) => {
    try {
      return await SCENES[event.do]({ from: FROM, ...event });
    } finally {
      span.end();
    }
  });
};
