"""Import hooks: a patch runs once, right after its module, and nothing about the import is different."""

from __future__ import annotations

import importlib
import sys
import traceback
import zipfile
from typing import TYPE_CHECKING

import pytest

from o2_lambda.instrument.python.o2_tracing.hooks import Finder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

Patch = dict[str, "Callable[[ModuleType], None]"]


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Patch], None]]:
    """Installs a finder for modules of this test; all of them are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(patches: Patch) -> None:
        monkeypatch.setattr(sys, "meta_path", [Finder(patches), *sys.meta_path])

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_is_patched_before_its_importer_goes_on(tmp_path: Path, hooked: Callable[[Patch], None]) -> None:
    """`from module import name` already gets what the patch has put there; the loader is left clean."""
    (tmp_path / "hooked_one.py").write_text("value = 1\n")
    (tmp_path / "importer.py").write_text("from hooked_one import value\n")
    calls: list[str] = []

    def patch(module: ModuleType) -> None:
        calls.append(module.__name__)
        module.value = 2  # type: ignore[attr-defined]

    hooked({"hooked_one": patch})
    assert importlib.import_module("importer").value == 2
    loader = sys.modules["hooked_one"].__spec__.loader  # type: ignore[union-attr]
    assert "exec_module" not in vars(loader)
    importlib.reload(sys.modules["hooked_one"])
    assert calls == ["hooked_one"]


def test_a_patch_that_fails_costs_a_line(
    tmp_path: Path, hooked: Callable[[Patch], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The module is imported all the same."""
    (tmp_path / "hooked_two.py").write_text("value = 1\n")
    hooked({"hooked_two": lambda module: module.not_there})
    assert importlib.import_module("hooked_two").value == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("o2-lambda: hooked_two is not traced: AttributeError")


def test_an_import_that_fails_looks_the_same(tmp_path: Path, hooked: Callable[[Patch], None]) -> None:
    """The traceback has no line more than without the hook, and a second attempt is made as ever."""
    (tmp_path / "hooked_three.py").write_text("import json\njson.nothing\n")
    seen = []
    for patches in ({}, {"hooked_three": lambda _module: None}):
        hooked(patches)
        try:
            importlib.import_module("hooked_three")
        except AttributeError:
            seen.append(traceback.format_exc())
    assert len(seen) == 2
    assert seen[0] == seen[1]
    (tmp_path / "hooked_three.py").write_text("value = 'repaired'\n")
    importlib.invalidate_caches()
    assert importlib.import_module("hooked_three").value == "repaired"


def test_modules_of_a_zip_file_share_a_loader(tmp_path: Path, hooked: Callable[[Patch], None]) -> None:
    """The patch of one is not applied to another that it imports."""
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        archive.writestr("zipped_outer.py", "import zipped_inner\n")
        archive.writestr("zipped_inner.py", "value = 1\n")
    sys.path.insert(0, str(tmp_path / "modules.zip"))
    names: list[str] = []
    hooked({"zipped_outer": lambda module: names.append(module.__name__)})
    try:
        importlib.import_module("zipped_outer")
    finally:
        sys.path.remove(str(tmp_path / "modules.zip"))
    assert names == ["zipped_outer"]
