"""The architecture, checked: who may import whom, what stays small, what stays out. Each rule lists its offenders."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
TESTS = ROOT / "tests"
PACKAGE = "o2_lambda"
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Top-level package -> the others it may import. Arrows point down only; a new package must be entered here.
LAYERS: dict[str, set[str]] = {
    "extension": set(),
    "emulator": set(),
    "backend": set(),
    "instrument": set(),
    "layer": set(),
    "aws": {"layer"},
    "cli": {"extension", "emulator", "backend", "layer", "aws"},
}

# The sans-IO core: built into the interpreter, cheap, and without access to sockets, files, clocks or chance.
CORE_MODULES = {"__future__", "_json", "_sha2", "_sha256", "_struct", "binascii", "struct", "zlib"}

# Each costs the extension's start between 3 and 70 ms: never at module level, only where needed, after the first /next.
COSTLY_MODULES = {
    *("argparse", "asyncio", "collections", "concurrent", "contextlib", "dataclasses", "datetime", "enum", "functools"),
    *("gzip", "http", "inspect", "json", "logging", "pathlib", "random", "re", "shutil", "socket", "ssl", "string"),
    *("subprocess", "tempfile", "threading", "traceback", "typing", "urllib", "uuid"),
}

IMPURE = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")),
    *("os.urandom", "os.getrandom", "posix.urandom", "posix.getrandom", "random.random", "random.randrange"),
    *("monotonic", "monotonic_ns", "perf_counter", "time_ns", "urandom", "getrandom", "random", "__import__"),
}

STANDARD_LIBRARY = sys.stdlib_module_names | {"_sha2"}  # that one since CPython 3.12

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 80
LONG_FUNCTIONS: set[str] = set()  # "package.module.function", each with a reason

LOCKS = (
    "bench/node/package-lock.json",
    "requirements.lock",
    "tests/conformance/rie.lock",
    "tests/conformance/node/package-lock.json",
    "tests/instrument/clients.lock",
    "tests/instrument/node/package-lock.json",
)
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
# Homes and workspaces of a developer's machine; Lambda's own sandbox users have homes too.
MACHINE_PATH = re.compile(r"(?<![\w.:/}-])/(?:home/(?!sbx_)|Users/|root/|work/|workspace/)\w")
HOST_OPTION = re.compile(r"--(?:index-url|extra-index-url|find-links|trusted-host)|\"resolved\"|://|\bfile:")


@dataclass(frozen=True)
class Import:
    """One imported module: its absolute dotted name, and whether it costs anything, and when."""

    module: str
    line: int
    at_run_time: bool  # False under `if TYPE_CHECKING:`
    in_function: bool


@dataclass(frozen=True)
class Module:
    """One source file, parsed."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The package right under ours, or "" for our own top level."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"

    def imports(self) -> Iterator[Import]:
        is_package = self.path.name == "__init__.py"
        yield from _imports(self.tree, self.name if is_package else self.name.rpartition(".")[0])

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def _imports(node: ast.AST, package: str, *, at_run_time: bool = True, in_function: bool = False) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_run_time, in_function)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            yield Import(submodule if _is_ours(submodule) else base, node.lineno, at_run_time, in_function)
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        for guarded in node.body:
            yield from _imports(guarded, package, at_run_time=False, in_function=in_function)
        for other in node.orelse:
            yield from _imports(other, package, at_run_time=at_run_time, in_function=in_function)
    else:
        in_function = in_function or isinstance(node, Function)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, package, at_run_time=at_run_time, in_function=in_function)


def _is_ours(name: str) -> bool:
    path = SRC.joinpath(*name.split("."))
    return name.startswith(PACKAGE) and (path.is_dir() or path.with_suffix(".py").is_file())


@cache
def modules() -> list[Module]:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    assert found, f"no source found under {SRC}"
    return found


def modules_of(package: str) -> list[Module]:
    prefix = f"{PACKAGE}.{package}"
    found = [module for module in modules() if module.name == prefix or module.name.startswith(f"{prefix}.")]
    assert found, f"no source found for {prefix}"
    return found


@cache
def texts() -> list[tuple[str, str]]:
    """Every text file of the project, as (relative path, content): all but what .gitignore names."""
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines() if line}
    found = []
    for directory, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored | {".git"}]
        for path in (Path(directory, name) for name in names if name != ".git"):  # a file in a linked worktree
            try:
                found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:  # a picture, an archive
                continue
    assert found, f"no files found under {ROOT}"
    return found


def report(offenders: list[str], rule: str) -> None:
    assert not offenders, "\n  ".join([rule, *offenders])


def test_import_reader_sees_every_kind_of_import() -> None:
    """Lazy, relative and type-only imports are found, and told apart: the rules below rest on it."""
    source = (
        "from o2_lambda import __version__\nfrom . import core\nfrom .core import x\n"
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import typing\nelse:\n    import zlib\n"
        "def f():\n    try:\n        import ssl\n    except ImportError: pass\n"
    )
    found = {
        (item.module, item.at_run_time, item.in_function) for item in _imports(ast.parse(source), "o2_lambda.extension")
    }
    assert found == {
        ("o2_lambda", True, False),
        ("o2_lambda.extension.core", True, False),
        ("typing", False, False),
        ("zlib", True, False),
        ("ssl", True, True),
    }


def test_layers_import_downwards_only() -> None:
    """The extension, emulator and backend know nothing of each other; type imports count too."""
    offenders = []
    for module in modules():
        for item in module.imports():
            package, _, rest = item.module.partition(".")
            target = rest.partition(".")[0]
            if package != PACKAGE or target in {"", module.layer}:
                continue
            if target not in LAYERS.get(module.layer, set()):
                offenders.append(f"{module.at(item.line)} imports {item.module}")
    report(offenders, "allowed imports between packages are those of LAYERS:")


def test_every_package_has_its_layer() -> None:
    """A package that LAYERS does not know would be held to no rule."""
    found = {path.parent.name for path in (SRC / PACKAGE).glob("*/__init__.py")}
    assert found == set(LAYERS)


def test_core_imports_only_itself_and_cheap_builtins() -> None:
    """The extension's core cannot reach a socket, a file, a clock or chance, because it imports nothing that can."""
    own = f"{PACKAGE}.extension.core"
    offenders = [
        f"{module.at(item.line)} imports {item.module}"
        for module in modules_of("extension.core")
        for item in module.imports()
        if item.at_run_time
        and item.module not in CORE_MODULES
        and item.module != own
        and not item.module.startswith(f"{own}.")
    ]
    report(offenders, f"extension/core may import itself and {sorted(CORE_MODULES)}:")


def test_core_calls_no_clock_and_no_dice() -> None:
    """Time and chance reach the core as arguments, so that every decision can be replayed."""
    offenders = [
        f"{module.at(node.lineno)} uses {ast.unparse(node)}"
        for module in modules_of("extension.core")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in IMPURE
    ]
    report(offenders, "extension/core must be given the time and random numbers:")


def test_extension_is_standard_library_only() -> None:
    """The layer ships an interpreter and our code, nothing else."""
    offenders = [
        f"{module.at(item.line)} imports {item.module}"
        for module in modules_of("extension")
        for item in module.imports()
        if item.module.partition(".")[0] not in STANDARD_LIBRARY | {PACKAGE}
    ]
    report(offenders, "the extension may import the standard library only:")


def test_extension_imports_nothing_costly_at_start() -> None:
    """The function's cold start waits for the extension to register, so an import's cost is the customer's."""
    offenders = [
        f"{module.at(item.line)} imports {item.module}"
        for module in modules_of("extension")
        for item in module.imports()
        if item.at_run_time and not item.in_function and item.module.partition(".")[0] in COSTLY_MODULES
    ]
    report(offenders, "costly modules belong into the function that needs them, after the first /next:")


def test_third_party_imports_are_declared() -> None:
    """Every import is served by a dependency in pyproject.toml: the wheel works without the dev tools."""
    declared = {_distribution(line) for line in _project()["dependencies"]}
    providers = packages_distributions()
    offenders = []
    for module in modules():
        if module.layer == "instrument":
            continue  # runs inside the function and patches the packages that it finds there
        for item in module.imports():
            name = item.module.partition(".")[0]
            if name in STANDARD_LIBRARY or name == PACKAGE:
                continue
            if not {_distribution(each) for each in providers.get(name, [])} & declared:
                offenders.append(f"{module.at(item.line)} imports {item.module}")
    report(offenders, "not provided by a dependency in pyproject.toml:")


def test_locks_name_no_host() -> None:
    """Locks pin what is installed by version and hash; where it comes from is the installer's configuration."""
    offenders = []
    for name in LOCKS:
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if HOST_OPTION.search(line):
                offenders.append(f"{name}:{number} {line.strip()}")
    report(offenders, "locks must name no host, index or file:")


def test_python_locks_pin_and_hash_everything() -> None:
    """Every requirement is one exact version with at least one sha256, the build backend included."""
    offenders = []
    pinned = set()
    for name in (lock for lock in LOCKS if not lock.endswith(".json")):
        text = re.sub(r"^ *#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for requirement in text.replace("\\\n", " ").splitlines():
            matched = re.fullmatch(
                r"([\w.-]+)==[\w.]+(?: ;[^#]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*(?:#.*)?", requirement
            )
            if matched:
                pinned.add(_distribution(matched[1]))
            else:
                offenders.append(f"{name}: {requirement[:60]}")
    wanted = [
        *_project()["dependencies"],
        *_project()["optional-dependencies"]["dev"],
        *_pyproject()["build-system"]["requires"],
    ]
    offenders += [f"requirements.lock lacks {line}" for line in wanted if _distribution(line) not in pinned]
    report(offenders, "run `make lock`:")


def test_nothing_is_left_unfinished() -> None:
    """No note to self is left in the tree: it is done, or it is an issue."""
    offenders = [
        f"{name}:{number} {line.strip()[:80]}"
        for name, text in texts()
        if name not in LOCKS  # hashes may spell anything
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    report(offenders, "finish it or file an issue:")


def test_no_path_of_a_developers_machine() -> None:
    """The project runs from any checkout."""
    offenders = [
        f"{name}:{number} {line.strip()[:80]}"
        for name, text in texts()
        if name not in LOCKS
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    report(offenders, "absolute paths of one machine:")


def test_modules_are_small() -> None:
    """One job per module."""
    offenders = [
        f"{module.path.relative_to(ROOT)} has {lines} lines"
        for module in modules()
        if (lines := len(module.path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    ]
    report(offenders, f"split modules of over {MODULE_LINES_MAX} lines:")


def test_functions_are_small() -> None:
    """A function fits on a screen or two; an exception is named in LONG_FUNCTIONS, with its reason."""
    offenders = [
        f"{module.at(node.lineno)} {node.name} has {lines} lines"
        for module in modules()
        for node in module.functions()
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
        and f"{module.name}.{node.name}" not in LONG_FUNCTIONS
    ]
    report(offenders, f"split functions of over {FUNCTION_LINES_MAX} lines:")


def test_every_test_states_its_behaviour() -> None:
    """A test's docstring says what must hold: what a reader sees first when it fails."""
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        if "node_modules" not in path.parts
        for node in Module(path.stem, path, ast.parse(path.read_text(encoding="utf-8"))).functions()
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    report(offenders, "tests without a docstring:")


def test_documented_make_targets_exist() -> None:
    """A command that the documentation names can be pasted."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    offenders = [
        f"{name} names `make {target}`"
        for name, text in texts()
        if name.endswith(".md")
        for target in re.findall(r"(?:`|^ *\$? *)make ([a-z-]+)", text, re.MULTILINE)
        if target not in targets
    ]
    report(offenders, "no such target in the Makefile:")


def test_readme_lists_the_settings_as_they_are() -> None:
    """README.md's table is the one that the extension's own definitions generate; `make settings` writes it."""
    from o2_lambda.extension.settings import settings_table

    section = re.search(
        r"<!-- settings:begin -->(.*?)<!-- settings:end -->",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert section, "README.md has no <!-- settings:begin --> ... <!-- settings:end --> section"
    assert section[1].strip() == settings_table().strip(), "README.md's settings are out of date: run `make settings`"


@cache
def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _project() -> dict[str, Any]:
    project: dict[str, Any] = _pyproject()["project"]
    return project


def _distribution(requirement: str) -> str:
    """A requirement's name, normalised: `Foo_Bar[extra]>=1` is foo-bar."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()
