"""The layer zips: what is in them, and where they are written."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from o2_lambda.layer import bytecode, java, javascript, maven, notices
from o2_lambda.layer.certificates import hashed_folder
from o2_lambda.layer.linking import DEFAULT_FLAVOUR, Builder
from o2_lambda.layer.names import EXECUTABLE, FULL, JAVA, zip_name
from o2_lambda.layer.packing import Entry, write_zip
from o2_lambda.layer.process import require
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import TARGETS, runner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from o2_lambda.layer.inputs import Inputs

PYTHON_SCRIPT = "/boot.py"
OPT = "/opt/"  # where Lambda unpacks layers
CA_FOLDER = "o2/ca"  # below /opt
TRACING_FOLDER = "o2"  # below /opt; /opt/python would be on the function's own path
JAVA_AGENT = f"{TRACING_FOLDER}/java/opentelemetry-javaagent.jar"
JAVA_EXTENSION = f"{TRACING_FOLDER}/java/o2-tracing.jar"
WRAPPER = "otel-instrument"
INSTRUMENT = Path(__file__).parents[1] / "instrument"


def project_root() -> Path:
    """The checkout that this package is run from."""
    return Path(__file__).parents[3]


def cache_folder() -> Path:
    """Where a build keeps its results: in the checkout; of an installed package, in the user's own cache."""
    root = project_root()
    return root / ".cache/layer" if (root / "pyproject.toml").exists() else Path.home() / ".cache/o2-lambda/layer"


def build(
    arches: Iterable[str],
    variants: Iterable[str],
    target: Path,
    cache: Path,
    *,
    flavour: str | None = None,
    made: Callable[[str, float], object] | None = None,
) -> list[Path]:
    """Builds the zips into the folder `target`, one per architecture and variant; returns their paths.

    `flavour` is one of linking.FLAVOURS; None: what is known to work on the architecture. `made` is told the steps that
    were not in the cache, and the seconds that each took.
    Raises LayerError where an input or a tool is missing or fails.
    """
    store = Store(cache, made)
    lanes = list(dict.fromkeys(arches))  # side by side: some steps keep no more than one core busy, others both
    wanted = list(dict.fromkeys(variants))
    flavours = {arch: flavour or DEFAULT_FLAVOUR[arch] for arch in lanes}
    _require_tools(flavours, wanted)
    builder = Builder(store)
    with ThreadPoolExecutor() as pool:
        ahead: list[Future[object]] = [pool.submit(builder.inputs.fetch_sources)]
        if FULL in wanted:
            ahead.append(pool.submit(tracing_entries, builder.inputs))
        cores = list(pool.map(lambda arch: _core_entries(builder, arch, flavours[arch]), lanes))
        for each in ahead:
            each.result()

        def write(arch: str, core: dict[str, Entry], variant: str) -> Path:
            path = target / zip_name(arch, variant)
            write_zip(path, _variant_entries(variant, core, builder.inputs, store))
            return path

        zips = [(arch, core, variant) for arch, core in zip(lanes, cores, strict=True) for variant in wanted]
        return list(pool.map(lambda each: write(*each), zips))


def _require_tools(flavours: Mapping[str, str], variants: Collection[str]) -> None:
    """Raises LayerError at once, not when they are needed: that may be minutes later."""
    for_variants = [*(["mvn"] if {FULL, JAVA} & {*variants} else []), *(["java"] if JAVA in variants else [])]
    require("make", "cargo", *for_variants)
    for arch, flavour in flavours.items():
        if flavour == "snapshot":
            runner(TARGETS[arch])


def wrapper_entries() -> dict[str, Entry]:
    """The wrapper alone: where it finds no tracer for a runtime, it says so and starts it unchanged."""
    return {WRAPPER: Entry((INSTRUMENT / WRAPPER).read_bytes(), executable=True)}


def tracing_entries(inputs: Inputs) -> dict[str, Entry]:
    """The wrapper and what it starts, the same for both architectures."""
    return wrapper_and_node() | {path: Entry(content) for path, content in _python(inputs).items()}


def wrapper_and_node() -> dict[str, Entry]:
    """The wrapper, and the Node.js tracer in the form in which it ships."""
    files = wrapper_entries()
    for name, source in javascript.bundle(INSTRUMENT / "node").items():
        files[f"{TRACING_FOLDER}/node/{name}"] = Entry(source.encode())
    return files


def _python(inputs: Inputs) -> dict[str, bytes]:
    """The Python tracer: sources, and byte code for each version."""
    paths = sorted((INSTRUMENT / "python").rglob("*.py"))
    sources = {f"{TRACING_FOLDER}/{path.relative_to(INSTRUMENT).as_posix()}": path.read_bytes() for path in paths}
    modules = {f"{OPT}{path}": content for path, content in sources.items() if not path.endswith(PYTHON_SCRIPT)}
    byte_code = bytecode.compiled(inputs, modules, f"{OPT}{TRACING_FOLDER}/python/o2_tracing/__init__.py")
    return sources | {path.removeprefix(OPT): content for path, content in byte_code.items()}


def _variant_entries(variant: str, core: dict[str, Entry], inputs: Inputs, store: Store) -> dict[str, Entry]:
    """Everything in the zip of a variant."""
    files = dict(core)
    works = notices.components(inputs)
    if variant == FULL:
        files |= tracing_entries(inputs)
    elif variant == JAVA:
        jar = maven.fetched(store, java.AGENT)
        extension = java.extension(store, jar, maven.fetched(store, java.COMPILER), INSTRUMENT / "java")
        files |= {**wrapper_entries(), JAVA_AGENT: Entry(jar.read_bytes()), JAVA_EXTENSION: Entry(extension)}
        works.append(java.component(jar))
    return files | notices.entries(works, files)


def _core_entries(builder: Builder, arch: str, flavour: str) -> dict[str, Entry]:
    executable = builder.executable(TARGETS[arch], flavour).read_bytes()
    files = {f"extensions/{EXECUTABLE}": Entry(executable, executable=True)}
    return files | {f"{CA_FOLDER}/{name}": Entry(pem) for name, pem in hashed_folder(certifi.contents()).items()}
