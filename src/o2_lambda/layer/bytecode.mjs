// node bytecode.mjs FOLDER SCRIPT REQUEST ANSWER: calls SCRIPT's `compiled` in the CPython, built for WebAssembly, that
// lies in FOLDER, with what is in the file REQUEST, and writes the file ANSWER.
import crypto from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

// The same hash seed in each run: the order of constant sets depends on it before Python 3.11.
crypto.randomBytes = (size) => Buffer.alloc(size, 1);
globalThis.crypto.getRandomValues = (array) => array.fill(1);

const [folder, script, request, answer] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: `${folder}/`, env: { HOME: "/", PYTHONHASHSEED: "0" } });
python.runPython(readFileSync(script, "utf8"));
writeFileSync(answer, python.globals.get("compiled")(readFileSync(request, "utf8")));
process.exit(0);
