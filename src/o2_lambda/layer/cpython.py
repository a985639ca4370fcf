"""CPython's core as a static library per target, and an interpreter of the same version that runs on this machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer import linked, profile
from o2_lambda.layer.inputs import CPYTHON, Inputs
from o2_lambda.layer.process import LayerError, run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, SOURCE_DATE_EPOCH, Toolchain, host

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store
    from o2_lambda.layer.toolchain import Target

OPTIONS = (
    "--disable-shared",
    "--disable-test-modules",
    "--enable-ipv6",
    "--with-computed-gotos",
    "--with-hash-algorithm=siphash13",
    "--without-doc-strings",
    "--without-ensurepip",
    "--without-mimalloc",
    "--without-readline",
)
# What configure finds out by looking at this machine, which is not the one that the result runs on.
ANSWERS = {
    "ac_cv_aligned_required": "no",
    "ac_cv_broken_sem_getvalue": "no",
    "ac_cv_buggy_getaddrinfo": "no",
    "ac_cv_computed_gotos": "yes",
    "ac_cv_file__dev_ptc": "no",
    "ac_cv_file__dev_ptmx": "yes",
    "ac_cv_posix_semaphores_enabled": "yes",
    "ac_cv_pthread_system_supported": "yes",
    "ac_cv_working_tzset": "yes",
    "ax_cv_c_float_words_bigendian": "no",
}
# What it finds out about the C library, the compiler and Linux: the same on every machine, and a minute of one core to
# ask for. A test asks; scripts/write_answers.py writes what it answers, a line each: name=value.
KNOWN_ANSWERS = Path(__file__).parent / "native" / "answers.txt"
# Neither kept nor given: what names a tool, a folder or the architecture.
ASKED_HERE = re.compile(r"ac_cv_(build|host|env|path|prog|objext|c_compiler|cc_name|gcc_asm)(_|$)|(?!ac_)")
# All that configure finds on x86_64 and not on arm64, both with musl.
X86_64_ONLY = ("HAVE_GCC_ASM_FOR_X64", "HAVE_GCC_ASM_FOR_X87")
# Objects come out of blocks of 256 KiB, not of 1 MiB with a search tree over them: less memory in use, more returned.
OPTIMIZE = "-DNDEBUG -O3 -fwrapv -DWITH_PYMALLOC_RADIX_TREE=0"
LIBRARY = "libpython.a"
LOG = "make.log"  # with the linker's maps of what runs on this machine
INTERPRETER = "_bootstrap_python"  # CPython's own name for it: no extension modules, the library read from the sources
# Nothing in the executable refers to these; the interpreter that runs on this machine has all of them.
UNNEEDED = """
_collectionsmodule _functoolsmodule _localemodule _operator _suggestions _sysconfig _tracemalloc _typingmodule config
itertoolsmodule main pwdmodule sre symtablemodule readline_tokenizer
Python-tokenize brc dynamic_annotations frozenmain gc_free_threading interpconfig jit optimizer optimizer_analysis
optimizer_symbols perf_jit_trampoline pyfpe
"""
HEADERS = Path(__file__).parent / "native" / "precompiled.h"
_PRECOMPILED = "headers.pch"
# The compiler of Python, which is not run where the layer is: for it, small is better than fast. Some files tell the
# headers what to declare, and read them for themselves. The path of the precompiled headers is that of one build, so
# that the compiler's own cache never takes others for them.
_GOALS = """
PRECOMPILED = -include-pch $(CURDIR)/{precompiled}
PY_STDMODULE_CFLAGS += $(PRECOMPILED)
Parser/parser.o Python/Python-ast.o Python/compile.o Python/symtable.o: PRECOMPILED = -Os
Modules/_stat.o Modules/errnomodule.o Modules/pwdmodule.o Python/getargs.o {precompiled}: PRECOMPILED =
{precompiled}: {headers}
	$(CC) $(PY_CORE_CFLAGS) -Xclang -fno-pch-timestamp -x c-header $< -o $@
o2-library: $(filter-out {unneeded},$(LIBRARY_OBJS_OMIT_FROZEN) $(MODOBJS))
\t$(AR) rcsD {library} $^
"""


def cpython(store: Store, inputs: Inputs, toolchain: Toolchain, *, instrumented: bool = False) -> Path:
    """The folder with `libpython.a` (without frozen modules) and `pyconfig.h`; for the host `_bootstrap_python` too.

    `instrumented`: a library that counts what runs, to write the profile with which the other one is optimized.
    """
    source = inputs.source(CPYTHON)
    target, native = toolchain.target, toolchain.target == host() and not instrumented
    prepared = configured(store, inputs, instrumented=instrumented)
    recipe = [*(Path(__file__), HEADERS, SOURCE_DATE_EPOCH, toolchain.identity, target, native), prepared.name]

    def make(output: Path, scratch: Path) -> None:
        log = scratch / "log"
        shutil.copytree(prepared, scratch, dirs_exist_ok=True)
        config = scratch / "pyconfig.h"
        config.write_text(_for_target(config.read_text(), target))
        with (scratch / "Makefile").open("a") as makefile:
            unneeded = " ".join(f"%/{name}.o" for name in UNNEEDED.split())
            places = {"library": output / LIBRARY, "precompiled": _PRECOMPILED, "headers": HEADERS}
            makefile.write(_GOALS.format(unneeded=unneeded, **places))
        toolchain.make(scratch, _PRECOMPILED, log=log)
        goals = ["o2-library", INTERPRETER] if native else ["o2-library"]
        with linked.explained():
            toolchain.make(scratch, *goals, f"SYSLIBS={linked.PRINT_MAP}", log=log)
        shutil.copy(config, output)
        if native:
            shutil.copy(log, output / LOG)
            shutil.copy(scratch / INTERPRETER, output)
            library = output / "lib" / f"python{CPYTHON.version.rpartition('.')[0]}"  # where it looks for it
            library.parent.mkdir()
            library.symlink_to(Path("..", "..", source.name, "Lib"))

    name = f"cpython-{target.arch}-instrumented" if instrumented else f"cpython-{target.arch}"
    return store.result(name, recipe, make)


def configured(store: Store, inputs: Inputs, *, instrumented: bool = False, asking: bool = False) -> Path:
    """The folder with the Makefile and pyconfig.h, once for all targets; `asking`: found out without KNOWN_ANSWERS.

    The compiler's command is the same for each, and so are the answers; _for_target() knows the exceptions.
    """
    source = inputs.source(CPYTHON)
    toolchain = Toolchain(store, inputs, host(), complete=asking)  # configure asks for what nothing else uses
    ingredients = profile.INSTRUMENT if instrumented else profile.INGREDIENTS
    profiling = profile.INSTRUMENT if instrumented else profile.flags(store)
    triple = f"{host().machine}-pc-linux-gnu"
    settings = [
        *(f"--build={triple}", f"--host={triple}"),
        f"CFLAGS={' '.join([*COMPILE_FLAGS, *profiling])} {toolchain.path_flag} -w",
        f"OPT={OPTIMIZE}",
        f"LDFLAGS=-static {' '.join(COMPILE_FLAGS)}",
        "MODULE_BUILDTYPE=static",
    ]
    answers = ANSWERS if asking else {**known_answers(), **ANSWERS}
    recipe = [Path(__file__), CPYTHON, COMPILE_FLAGS, SOURCE_DATE_EPOCH, toolchain.identity, host(), *ingredients]
    recipe.append(answers)

    def make(output: Path, scratch: Path) -> None:
        env = {**toolchain.env, **answers, "READELF": "true"}
        run([source / "configure", *OPTIONS, *settings], cwd=output, env=env, log=scratch / "log")
        _no_extension_modules(output)
        toolchain.make(output, "Makefile", log=scratch / "log")  # makes itself anew from the lists of modules

    name = "cpython-asked" if asking else "cpython-configured"
    return store.result(f"{name}-instrumented" if instrumented else name, recipe, make)


def known_answers() -> dict[str, str]:
    """What configure need not find out."""
    return dict(line.split("=", 1) for line in KNOWN_ANSWERS.read_text().splitlines())


def answers_of(log: str) -> dict[str, str]:
    """What configure has found out about more than this machine, by its log."""
    found = re.findall(r"^(\w+_cv_\w+)=('?)(.+)\2$", log, re.MULTILINE)
    return {name: value for name, _quote, value in sorted(found) if name not in ANSWERS and not ASKED_HERE.match(name)}


def _for_target(config: str, target: Target) -> str:
    for name in X86_64_ONLY:
        line = f"#define {name} 1" if target.machine == "x86_64" else f"/* #undef {name} */"
        config, found = re.subn(rf"^(#define {name} 1|/\* #undef {name} \*/)$", line, config, flags=re.MULTILINE)
        if found != 1:
            raise LayerError(f"pyconfig.h does not tell {name}")
    return config


def _no_extension_modules(scratch: Path) -> None:
    """Leaves only the modules of the core itself; the few others are compiled with the executable."""
    for name in ("Setup.local", "Setup.stdlib"):
        (scratch / "Modules" / name).write_text("*static*\n")
