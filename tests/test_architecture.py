"""Imports go one way (docs/architecture.md), and an op's signature is told in few places."""

import ast
from pathlib import Path

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
