'use strict';

// Events of API Gateway (REST and HTTP APIs), function URLs and load balancers.

const propagation = require('./propagation.js');
const { Trigger, isObject } = require('./triggers.js');
const { URL_CHARS_MAX, redactQuery } = require('./urls.js');

// HTTP methods of the semantic conventions; any other is _OTHER, so that names stay few.
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY']);

/** The trigger of an HTTP event; `asked` is its request context. */
function read(event, asked, propagators) {
  const headers = event.headers || event.multiValueHeaders || {};
  const plain = Object.create(null);
  for (const name of Object.keys(headers)) plain[name.toLowerCase()] = first(headers[name]);
  const attributes = isObject(asked.http) ? version2(event, asked, asked.http) : version1(event, asked);
  const asking = attributes['url.query'];
  if (typeof asking === 'string') attributes['url.query'] = redactQuery(asking.slice(0, URL_CHARS_MAX));
  attributes['url.scheme'] = plain['x-forwarded-proto'] ?? 'https';
  attributes['server.address'] = asked.domainName || plain.host;
  attributes['user_agent.original'] = plain['user-agent'];
  if (/^\d+$/.test(plain['x-forwarded-port'] || '')) attributes['server.port'] = Number(plain['x-forwarded-port']);
  if (attributes['client.address'] === undefined && plain['x-forwarded-for']) {
    attributes['client.address'] = plain['x-forwarded-for'].split(',')[0].trim();
  }
  const given = attributes['http.request.method'];
  if (given === undefined || given === null) throw new Error('a request without a method');
  let method = String(given);
  if (!METHODS.has(method)) {
    attributes['http.request.method'] = '_OTHER';
    attributes['http.request.method_original'] = method;
    method = 'HTTP';
  }
  const route = attributes['http.route'];
  const picked = propagation.pick(headers);
  const parent = propagation.extract(picked, propagators);
  const baggage = propagation.baggage(picked, propagators);
  return new Trigger('http', { name: route ? `${method} ${route}` : method, attributes, parent, baggage });
}

/** HTTP APIs and function URLs (payload format 2.0). */
function version2(event, asked, call) {
  const key = String(asked.routeKey || event.routeKey || '');
  const blank = key.indexOf(' ');
  return {
    'http.request.method': call.method,
    'url.path': call.path || event.rawPath,
    'url.query': event.rawQueryString || undefined,
    'http.route': blank < 0 ? undefined : key.slice(blank + 1) || undefined,
    'client.address': call.sourceIp,
    'network.protocol.version': protocol(call.protocol),
  };
}

/** REST APIs (payload format 1.0) and load balancers, which have no `resource`. */
function version1(event, asked) {
  return {
    'http.request.method': event.httpMethod,
    'url.path': asked.path || event.path,
    'url.query': query(event, 'elb' in asked) || undefined,
    'http.route': event.resource,
    'client.address': (asked.identity || {}).sourceIp,
    'network.protocol.version': protocol(asked.protocol),
  };
}

/** The query, which a load balancer hands on as it came. */
function query(event, isEncoded) {
  const lists = event.multiValueQueryStringParameters || {};
  const several = Object.keys(lists).length > 0 ? lists : event.queryStringParameters || {};
  const pairs = [];
  for (const name of Object.keys(several)) {
    const values = Array.isArray(several[name]) ? several[name] : [several[name]];
    for (const value of values) pairs.push([name, value]);
  }
  return isEncoded ? pairs.map((pair) => pair.join('=')).join('&') : new URLSearchParams(pairs).toString();
}

function protocol(value) {
  return typeof value === 'string' ? value.split('/')[1] || undefined : undefined;
}

function first(value) {
  const one = Array.isArray(value) ? value[0] : value;
  return typeof one === 'string' ? one : '';
}

module.exports = { read };
