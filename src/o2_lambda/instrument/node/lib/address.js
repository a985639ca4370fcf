'use strict';

// Where spans go: a receiver on this machine.

const LOCAL_NAMES = new Set(['localhost', '127.0.0.1', '0.0.0.0']);
const LOCAL_HOST = '127.0.0.1'; // not `localhost`: a look-up would cost more than the export
const RECEIVER_PORT = 4318;
const PATH = '/v1/traces';
const PORT_MAX = 65535;

/**
 * The OTLP receiver that the environment names, and whether that is the extension's, which is told about invocations.
 * @returns {{address: {host: string, port: number, path: string}, announces: boolean}}
 */
function address(env) {
  const found = readAddress(env);
  return { address: found, announces: found.port === receiverPort(env) && found.path === PATH };
}

function readAddress(env) {
  const candidates = [
    [env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, ''],
    [env.OTEL_EXPORTER_OTLP_ENDPOINT, PATH],
  ];
  for (const [value, suffix] of candidates) {
    const match = /^http:\/\/([^/:]+):(\d+)(\/.*)?$/.exec((value || '').trim());
    if (match !== null && LOCAL_NAMES.has(match[1]) && Number(match[2]) <= PORT_MAX) {
      const folder = match[3] || '';
      const path = suffix ? folder.replace(/\/+$/, '') + suffix : folder || '/';
      return { host: LOCAL_HOST, port: Number(match[2]), path };
    }
  }
  return { host: LOCAL_HOST, port: receiverPort(env), path: PATH };
}

function receiverPort(env) {
  const text = (env.O2_OTLP_PORT || '').trim();
  return /^\d+$/.test(text) && Number(text) <= PORT_MAX ? Number(text) : RECEIVER_PORT;
}

module.exports = { address };
