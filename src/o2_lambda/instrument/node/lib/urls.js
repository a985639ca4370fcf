'use strict';

// URLs as span attributes: without credentials.

const REDACTED = 'REDACTED';
// Query parameters that grant access: signatures and tokens of presigned URLs (names from the semantic conventions,
// and AWS's signature version 4).
const SECRETS = new Set([
  'awsaccesskeyid', 'signature', 'sig', 'x-goog-signature', 'x-amz-signature', 'x-amz-credential',
  'x-amz-security-token',
]);
const URL_CHARS_MAX = 2048;

/** The URL without user, password and the values of secret parameters, cut to a bound. */
function redact(given) {
  let url = given.slice(0, URL_CHARS_MAX);
  const match = /^([^:/?#]+:\/\/)([^/?#]*)@/.exec(url);
  if (match !== null) url = `${match[1]}${REDACTED}:${REDACTED}@${url.slice(match[0].length)}`;
  const question = url.indexOf('?');
  if (question < 0) return url;
  return url.slice(0, question + 1) + redactQuery(url.slice(question + 1));
}

/** The query without the values of secret parameters. */
function redactQuery(query) {
  return query.split('&').map(redactPair).join('&');
}

function redactPair(pair) {
  const equals = pair.indexOf('=');
  const name = pair.slice(0, equals);
  return equals > 0 && SECRETS.has(name.toLowerCase()) ? `${name}=${REDACTED}` : pair;
}

module.exports = { redact, redactQuery, URL_CHARS_MAX };
