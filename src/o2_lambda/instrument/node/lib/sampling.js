'use strict';

// Samplers, by the names of OTEL_TRACES_SAMPLER. A sampler answers (trace id, parent) with yes or no.

const DEFAULT = 'parentbased_always_on';
const BASED = 'parentbased_';

/** The sampler of that name; `argument` is the ratio, 1 when it is empty. Throws an Error with one line. */
function sampler(name, argument) {
  const based = name.startsWith(BASED);
  const root = rootSampler(based ? name.slice(BASED.length) : name, argument);
  return based ? (traceId, parent) => (parent === null ? root(traceId) : parent.sampled) : root;
}

function rootSampler(name, argument) {
  switch (name) {
    case 'always_on':
      return () => true;
    case 'always_off':
      return () => false;
    case 'traceidratio': {
      const bound = Math.floor(ratio(argument) * 0xffffffff);
      // The exclusive or of the id's words, as OpenTelemetry's own SDK for JavaScript has it: both decide alike.
      return (traceId) => accumulate(traceId) < bound;
    }
    default:
      throw new Error(
        `OTEL_TRACES_SAMPLER is ${name}, not one of always_on, always_off, traceidratio, parentbased_*`,
      );
  }
}

function accumulate(traceId) {
  let sum = 0;
  for (let at = 0; at < traceId.length; at += 8) sum = (sum ^ parseInt(traceId.slice(at, at + 8), 16)) >>> 0;
  return sum;
}

function ratio(argument) {
  const value = argument === '' ? 1 : Number(argument);
  if (!(value >= 0 && value <= 1)) throw new Error(`OTEL_TRACES_SAMPLER_ARG is ${argument}, not a number from 0 to 1`);
  return value;
}

module.exports = { DEFAULT, sampler };
