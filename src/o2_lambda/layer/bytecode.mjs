// node bytecode.mjs FOLDER SCRIPT REQUEST ANSWER: calls SCRIPT's `compiled` in the CPython, built for WebAssembly, that
// lies in FOLDER, with what is in the file REQUEST, and writes the file ANSWER.
import { readFileSync, writeFileSync } from "node:fs";

// Without columns, which tracebacks show since 3.11 and a start would have to read.
const env = { HOME: "/", PYTHONNODEBUGRANGES: "1" };
const [folder, script, request, answer] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: `${folder}/`, env });
python.runPython(readFileSync(script, "utf8"));
writeFileSync(answer, python.globals.get("compiled")(readFileSync(request, "utf8")));
process.exit(0);
