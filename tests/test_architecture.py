"""Imports go one way (docs/architecture.md), and an op's signature is told in few places."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import physioclr as pc

PACKAGE = Path(pc.__file__).parent
# Each may import those that stand before it on its line's right, and itself.
BELOW = {
    "ops": set(),
    "data": {"ops"},
    "nn": {"ops"},
    "train": {"ops", "data", "nn"},
    "reference": {"ops"},
}


def imports(path):
    """(level below physioclr as a tuple of names, line) of every import of our own in a file."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            found = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield (*found, alias.name), node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "physioclr":
            yield tuple(node.module.split(".")[1:]), node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "physioclr":
                    yield tuple(alias.name.split(".")[1:]), node.lineno


def test_imports_go_down():
    wrong = []
    for folder, below in BELOW.items():
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for target, line in imports(path):
                top = target[0] if target else ""
                if (top in BELOW and top != folder and top not in below) or top in ("cli", "demo", "bench"):
                    wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {'.'.join(target)}")
    assert not wrong, wrong


def test_no_import_of_the_whole_package_hides_a_circle():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for folder in BELOW
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for target, line in imports(path)
        if not target
    ]
    assert not wrong, wrong


def test_numba_code_knows_no_op():
    allowed = {"_arrays", "_feature_names", "_numba"}
    wrong = []
    for path in (PACKAGE / "ops" / "_numba").glob("*.py"):
        for target, line in imports(path):
            if target[0] == "ops" and len(target) > 1 and target[1] not in allowed:
                wrong.append(f"{path.name}:{line} imports {'.'.join(target)}")
    assert not wrong, wrong


NESTED = """
#include "core/fields.h"
struct Side { const float* rows; long count; PHYSIOCLR_FIELDS(rows, count) };
struct Other { const float* NAME; double tau; PHYSIOCLR_FIELDS(NAME, tau) };
struct Call { Side side; int kind; Other other; PHYSIOCLR_FIELDS(side, kind, other) };
constexpr auto names = physioclr::leaf_names<Call>();
static_assert(names.size() == 5 && names[0] == "rows" && names[2] == "kind" && names[4] == "tau");
static_assert(physioclr::all_differ(names), "two fields of one call have the same name");
"""


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
@pytest.mark.parametrize("name, good", [("columns", True), ("rows", False), ("kind", False)])
def test_two_fields_of_one_call_with_the_same_name_do_not_compile(name, good):
    csrc = Path(__file__).parents[1] / "csrc"
    command = ["c++", "-std=c++17", "-fsyntax-only", f"-I{csrc}", "-xc++", "-"]
    done = subprocess.run(command, input=NESTED.replace("NAME", name), text=True, capture_output=True)
    assert (done.returncode == 0) == good, done.stderr
    assert good or "two fields of one call have the same name" in done.stderr


def test_every_bound_call_is_checked():
    bind = (Path(__file__).parents[1] / "csrc/bindings/bind.h").read_text()
    assert "static_assert(all_differ(leaves)" in bind


def test_vectors_are_loaded_by_memcpy():
    """clang takes an `aligned` alias of a vector type as aligned, where it is the result of a cast, and crashes."""
    csrc = Path(__file__).parents[1] / "csrc"
    wrong = [
        f"{path.name}:{number}"
        for path in [*csrc.rglob("*.h"), *csrc.rglob("*.cpp")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"vector_size\(.*\baligned\(|\*reinterpret_cast<(const )?V\w*\*>", line)
    ]
    assert not wrong, wrong
