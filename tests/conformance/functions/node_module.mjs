// The same duties for an ES module, by way of the CommonJS one.
import { createRequire } from "node:module";

const talkative = createRequire(import.meta.url)("./node_talkative.cjs");

export const handler = async (event, context) => {
  console.info("module %s", import.meta.url.split("/").pop());
  return talkative.handler(event, context);
};
