"""No function of wider instructions may be what the linker keeps for every processor (tests/support/weak_check.py)."""

import shutil
import subprocess
from pathlib import Path

import pytest
import weak_check

ROOT = Path(__file__).parents[1]
NEEDED = pytest.mark.skipif(not (shutil.which("c++") and shutil.which("nm")), reason="no C++ compiler or no nm")
SHARED = """
#include <vector>
inline int shared(int x) { for (int i = 0; i < 9; ++i) x = x * 31 + i; return x; }
namespace physioclr::avx512 { inline int own(int x) { return x + 1; } int use(int x) { auto f = &own; return f(x); } }
"""
BAD = {
    "an inline function": "auto address = &shared;",
    "a vector of the standard": "void grow(std::vector<int>& v) { v.resize(7); }",
    "a global function": "int plain(int x) { return x; }",
}


def checked(tmp_path, source, *flags):
    file, out = tmp_path / "hot.cpp", tmp_path / "hot.o"
    file.write_text(source)
    subprocess.run(["c++", "-std=c++17", "-c", *flags, str(file), "-o", str(out)], check=True)
    return weak_check.main([str(out)])


@NEEDED
def test_names_of_the_set_are_good(tmp_path):
    assert checked(tmp_path, SHARED) == 0


@NEEDED
@pytest.mark.parametrize("name", BAD)
def test_others_are_found(tmp_path, name):
    assert checked(tmp_path, SHARED + BAD[name]) == 1


def test_nothing_to_look_at_is_no_success(tmp_path):
    assert weak_check.main([str(tmp_path)]) == 2


@NEEDED
def test_the_build_of_this_checkout():
    builds = [b for b in (ROOT / "build").glob("*") if weak_check.objects(b)]
    if not builds:
        pytest.skip("no build folder of this checkout with hot files")
    for build in builds:
        assert weak_check.main([str(build)]) == 0
