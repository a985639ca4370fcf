"""What CPython's configure is told, and not asked again, is what it would find out."""

from __future__ import annotations

import os
import re

import pytest

from o2_lambda.layer import cpython
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.store import Store
from tests.packaging.conftest import CACHE, skip_unavailable

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

LOG = """
ac_cv_env_CC_value=o2-cc
ac_cv_build=x86_64-pc-linux-gnu
ac_cv_func_fork=yes
ac_cv_gcc_asm_for_x64=yes
ac_cv_path_GREP=/usr/bin/grep
ac_cv_search_opendir='none required'
ac_cv_working_tzset=no
py_cv_module__ssl=missing
"""


def test_only_what_holds_on_every_machine_is_kept() -> None:
    """Neither tools, nor the architecture, nor what is decided in the code."""
    assert cpython.answers_of(LOG) == {"ac_cv_func_fork": "yes", "ac_cv_search_opendir": "none required"}


def test_nothing_is_asked_that_is_known() -> None:
    """A name that configure does not know, because CPython is another, is an answer to nothing."""
    with skip_unavailable():
        store = Store(CACHE)
        log = (cpython.configured(store, Inputs(store)) / "config.log").read_text()
    told = cpython.known_answers()
    assert len(told) > 500
    assert set(told) - set(re.findall(r"^(\w+)=", log, re.MULTILINE)) == set()


def test_no_answer_is_for_want_of_a_function() -> None:
    """The C library that it is asked with has no more than what is linked: what needs more is to be told."""
    with skip_unavailable():
        store = Store(CACHE)
        log = (cpython.configured(store, Inputs(store)) / "config.log").read_text()
    assert "undefined symbol" not in log


@pytest.mark.skipif(os.environ.get("O2_TEST_CONFIGURE") != "all", reason="takes a minute: run `make answers`")
def test_configure_would_find_out_the_same() -> None:
    """With no answer given it writes the same pyconfig.h, and finds out the same."""
    with skip_unavailable():
        store = Store(CACHE)
        asked = cpython.configured(store, Inputs(store), asking=True)
        told = cpython.configured(store, Inputs(store))
    assert cpython.answers_of((asked / "config.log").read_text()) == cpython.known_answers()
    assert (asked / "pyconfig.h").read_text() == (told / "pyconfig.h").read_text()
