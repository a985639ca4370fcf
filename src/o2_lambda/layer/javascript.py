"""Packs the Node.js tracer: what every cold start loads into one file, the rest beside it, without comments.

Finding, reading and compiling a file costs a start about as much as 20 KB of source in it. A function that is called in
any case stands in brackets: V8 compiles it at once, where it would look through it first, and again when it is called.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUNDLE, LATER = "tracer.js", "sender.js"
MAIN = "lib/enter.js"
STARTED = "lib/start.js"  # required by MAIN where it can catch what that throws
# What every function requires once its runtime has asked for the first event.
SERVING = ("lib/sending.js", "lib/triggers.js", "lib/hooks.js", "lib/patches/http.js", "lib/patches/undici.js")
# Modules whose functions a start and the first invocation call, nearly all of them.
CALLED = (
    *(f"lib/{name}.js" for name in ("address", "api", "enter", "handler", "load", "protobuf", "resource", "sending")),
    *(f"lib/{name}.js" for name in ("settings", "start", "triggers")),
)
ENTRIES = ("handler.js", "module.mjs", "package.json")
INLINED = "handler.js"  # has what every start loads in itself; an ES module cannot
_EAGER = re.compile(r"^(?:const .*|\} )= require\('(\.[^']+)'\);", re.MULTILINE)
_LOCAL = re.compile(r"\brequire\((?P<quote>['`])(?P<name>\.[^'`]+)(?P=quote)\)")
_FUNCTION = re.compile(r"^function (\w+)(.*?^\})$", re.MULTILINE | re.DOTALL)
_PARAMETERS = "exports, load, module"
_LOADER = """
const modules = Object.create(null);
function load(name) {
if (modules[name] !== undefined) return modules[name].exports;
const made = { exports: {} };
modules[name] = made;
if (sources[name] === undefined && later.includes(name)) Object.assign(sources, require('./sender.js'));
const run = sources[name] || require(`./${name}`);
run(made.exports, load, made);
return made.exports;
}
"""


def bundle(folder: Path) -> dict[str, str]:
    """The tracer's files as they ship, by their path: `folder` holds the sources."""
    sources = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.js")}
    eager = set(_closure([MAIN, STARTED], sources))
    later = set(_closure([*SERVING], sources)) - eager
    start = f"'use strict';{_LOADER}const later = {sorted(later)};\nconst sources = {_functions(eager, sources)};\n"
    shipped = {
        BUNDLE: f"{start}module.exports = load('{MAIN}');\n",
        LATER: f"'use strict';\nmodule.exports = {_functions(later, sources)};\n",
    }
    for name in ENTRIES:
        shipped[name] = strip((folder / name).read_text("utf-8")).replace(f"./{MAIN}", f"./{BUNDLE}")
    shipped[INLINED] = start + shipped[INLINED].replace(f"require('./{BUNDLE}')", f"load('{MAIN}')")
    for name in sorted(sources.keys() - eager - later - set(ENTRIES)):
        shipped[name] = f"'use strict';\nmodule.exports = ({_PARAMETERS}) => {{\n{_body(name, sources)}}};\n"
    return shipped


def _functions(names: set[str], sources: Mapping[str, str]) -> str:
    """The modules as an object of functions, in brackets."""
    parts = [f"'{name}': (function ({_PARAMETERS}) {{\n{_body(name, sources)}}}),\n" for name in sorted(names)]
    return f"{{\n{''.join(parts)}}}"


def _body(name: str, sources: Mapping[str, str]) -> str:
    """A module's code, where it names other modules by their paths, which no start has to work out."""
    folder = posixpath.dirname(name)

    def by_path(found: re.Match[str]) -> str:
        return f"load({found['quote']}{posixpath.normpath(posixpath.join(folder, found['name']))}{found['quote']})"

    source = sources[name]
    if name in CALLED:
        source = _FUNCTION.sub(r"const \1 = (function \1\2);", source)
    return _LOCAL.sub(by_path, strip(source))


def strip(source: str) -> str:
    """The source without comment lines and indentation: it has no literals of several lines (tests see to that)."""
    source = re.sub(r"^ */\*\*.*?\*/\n", "", source, flags=re.MULTILINE | re.DOTALL)
    lines = (line.strip() for line in source.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//") and line != "'use strict';")


def _closure(wanted: list[str], sources: Mapping[str, str]) -> list[str]:
    """The modules and those that they require while they are loaded, and theirs."""
    seen: list[str] = []
    while wanted:
        current = wanted.pop()
        if current not in seen:
            seen.append(current)
            folder = posixpath.dirname(current)
            wanted += [posixpath.normpath(posixpath.join(folder, to)) for to in _EAGER.findall(sources[current])]
    return seen
