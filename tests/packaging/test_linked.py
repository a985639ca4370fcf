"""The list of the libraries' files that are compiled is that of what is linked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer import linked, musl
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.linking import Builder
from o2_lambda.layer.process import LayerError, run
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import Toolchain, host
from tests.packaging.conftest import CACHE, skip_unavailable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(1800)]

MAP = """
         1000190   1000190   16   4         /c/musl-x86_64/lib/crt1.o:(.text)
         1000191   1000191   16   4         /c/musl-x86_64/lib/libc.a(malloc-mallocng-free.o):(.text.__libc_free)
         1000192   1000192    0   1                 __libc_free
         1000193   1000193   16   4         /c/zlib-x86_64/lib/libz.a(string-memchr.o):(.text)
               0         0   20   1         /c/musl-x86_64/lib/libc.a(exit-exit.o):(.debug_info)
"""
SOURCES = ["exit/exit.c", "malloc/free.c", "malloc/mallocng/free.c", "string/memchr.c"]


def test_what_the_linker_has_placed_is_linked() -> None:
    """Not what it has looked at and dropped, not another of that name, nor one in another library."""
    assert linked.placed(MAP, "libc.a", SOURCES) == {"malloc/mallocng/free.c"}


def test_the_list_names_sources() -> None:
    """A name that musl does not know, because it is another, is a file that cannot be compiled."""
    with skip_unavailable():
        sources = musl.sources(Inputs(Store(CACHE)).zig())
    names = linked.names("musl")
    assert len(names) > 400
    assert set(names) - set(sources) == set()


def test_a_missing_file_is_named_by_what_mends_it(tmp_path: Path) -> None:
    """The linker knows the symbol; what to do about it is said behind."""
    source = tmp_path / "program.c"
    source.write_text("#include <complex.h>\nint main(int count, char **words) { return (int)cabs(count); }\n")
    with skip_unavailable():
        store = Store(CACHE)
        toolchain = Toolchain(store, Inputs(store), host())
    log = tmp_path / "log"
    program = toolchain.compile(source, tmp_path / "program.o", ["-fno-builtin"], log=log)
    with pytest.raises(LayerError, match=r"cabs[^$]*write_linked"), linked.explained():
        run(["o2-cc", "-static", program, "-o", tmp_path / "program"], log=log, env=toolchain.env)


@pytest.mark.skipif(os.environ.get("O2_TEST_LINKED") != "all", reason="takes minutes: run `make linked`")
def test_the_linker_would_take_the_same() -> None:
    """With all files compiled it places something of just these."""
    with skip_unavailable():
        assert Builder(Store(CACHE), complete=True).linked() == linked.LINKED.read_text().splitlines()
