// A function that calls databases; the event says which, and where they listen. Every scene runs below a span of the
// function's own, which a call that has lost its context would not know.
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

const SCENES = { pg, mysql2, ioredis, redis, mongodb };
const LOADED = { pg: 'pg', mysql2: 'mysql2', ioredis: 'ioredis', redis: '@redis/client', mongodb: 'mongodb' };
const { SCENE, FROM } = process.env;
require(FROM || LOADED[SCENE]); // at the start, as functions do
if (SCENE === 'mysql2') require('mysql2/promise');

exports.handler = (event) => tracer.startActiveSpan('scene', async (span) => {
  try {
    return await SCENES[SCENE]({ from: FROM, ...event });
  } finally {
    span.end();
  }
});
