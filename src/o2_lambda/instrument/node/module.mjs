// The handler that the runtime is told to load, where the function's own is an ES module.

import { createRequire } from 'node:module';

const { enter } = createRequire(import.meta.url)('./lib/enter.js');

export const handler = await enter(undefined);
