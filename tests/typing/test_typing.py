"""The types of the public face: complete, and what a user's script finds in them."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import tempfile
import textwrap
import typing
from pathlib import Path

import pytest

import physioclr as pc
from physioclr import _core

HERE = Path(__file__).parent
PACKAGE = Path(pc.__file__).parent
FACE = HERE / "face.py"


def mypy(*args: str) -> str:
    """What mypy says of files that a user wrote, by a configuration that is not ours."""
    cache = Path(tempfile.gettempdir()) / "physioclr-mypy"  # kept: NumPy and torch need be read once only
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    command += [f"--cache-dir={cache}", "--no-error-summary", *args]
    # a package that is installed in place lies in no folder that mypy knows of
    where = PACKAGE.parent if PACKAGE.parent.name != "site-packages" else HERE
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_users_script_finds_the_types_it_expects():
    assert mypy(str(FACE)) == ""


def test_what_is_wrong_is_found(tmp_path):
    script = tmp_path / "wrong.py"
    wrong = (
        "pc.detect_rpeak(x, 500.0)", "pc.Augment(lead_dropout=False)", "pc.detect_rpeaks(x, '500')",
        "pc.detect_rpeaks(x, 500.0).indices", "pc.physio_features(x, 500.0, segments=5.0)",
        "pc.nt_xent(x, x)", "pc.nn.ResNet1d()(x)", "pc.augment(x, 'standard', fs=500, seed=1)",
    )  # fmt: skip
    script.write_text(
        "import numpy as np\n\nimport physioclr as pc\n\nx = np.zeros((2, 12, 5000))\n" + "\n".join(wrong)
    )
    lines = {int(line) for line in re.findall(r"wrong\.py:(\d+): error", mypy(str(script)))}
    assert lines == set(range(6, 6 + len(wrong)))


def test_the_script_has_every_public_name():
    used = {ast.unparse(node) for node in ast.walk(ast.parse(FACE.read_text())) if isinstance(node, ast.Attribute)}
    errors = {"RecordError", "TableError", "DamagedFile", "TrainingDiverged"}
    for prefix, module in (("pc", pc), ("pc.nn", pc.nn), ("pc.data", pc.data), ("pc.train", pc.train)):
        missing = {n for n in module.__all__ if f"{prefix}.{n}" not in used} - errors
        assert not missing, (prefix, missing)


def annotations_of(f: typing.Any, where: str) -> list[str]:
    """What is left open in the annotations of a function: a parameter without one, or a result that says nothing."""
    found = []
    told = typing.get_overloads(f) or [f]
    for one in told:
        signature = inspect.signature(one)
        for k, p in enumerate(signature.parameters.values()):
            own = k == 0 and p.name in ("self", "cls")
            if p.annotation is p.empty and not own:
                found.append(f"{where}: {p.name}")
        result = signature.return_annotation
        if where.endswith(".__init__"):  # which returns nothing
            continue
        if result is signature.empty or re.search(r"\bAny\b", str(result).replace("dict[str, Any]", "")):
            found.append(f"{where} -> {result}")
    return found


def members(cls: type, where: str) -> list[str]:
    """The same of what a class of ours defines: methods, properties and fields."""
    found = []
    for base in cls.__mro__:
        if not base.__module__.startswith("physioclr") or base.__module__ == "physioclr.ops._types":
            continue  # those results are typed by a stub
        for name, value in vars(base).items():
            if name.startswith("_") and name not in ("__init__", "__len__", "__getitem__", "__iter__"):
                continue
            f = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
            if inspect.isfunction(f) and f.__module__.startswith("physioclr"):
                found += annotations_of(inspect.unwrap(f) if not typing.get_overloads(f) else f, f"{where}.{name}")
        if dataclasses.is_dataclass(base) or hasattr(base, "_fields"):
            for name, annotation in vars(base).get("__annotations__", {}).items():
                if re.search(r"\bAny\b", str(annotation).replace("dict[str, Any]", "")):
                    found.append(f"{where}.{name}: {annotation}")
    return found


def attributes(cls: type, where: str) -> list[str]:
    """Public attributes that a constructor of ours sets and nothing declares: checkers would infer what they like."""
    told = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    found = []
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if (
            not base.__module__.startswith("physioclr")
            or not inspect.isfunction(init)
            or dataclasses.is_dataclass(base)
        ):
            continue
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(init)))))
        stores = {n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        declared = {n.target for n in nodes if isinstance(n, ast.AnnAssign)}
        names = {n.attr for n in stores - declared if ast.unparse(n.value) == "self" and n.attr[0] != "_"}
        found += [f"{where}.{name}" for name in sorted(names - told)]
    return found


@pytest.mark.parametrize(
    "module", ["physioclr", "physioclr.data", "physioclr.nn", "physioclr.train", "physioclr.plots"]
)
def test_the_public_face_is_typed_completely(module):
    m = sys.modules.get(module) or getattr(pc, module.rpartition(".")[2])
    names = getattr(m, "__all__", None) or [
        n for n, v in vars(m).items() if getattr(v, "__module__", "") == module and n[0] != "_"
    ]
    open_ends, seen = [], 0
    for name in names:
        value = getattr(m, name)
        if inspect.isclass(value):
            open_ends += members(value, f"{module}.{name}") + attributes(value, f"{module}.{name}")
        elif callable(value):
            open_ends += annotations_of(value, f"{module}.{name}")
        seen += callable(value)
    assert open_ends == [] and seen > 2


# ---- stubs: they say what is there, no more and no less


def names_of(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Classes, functions and annotated names of a module or class."""
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def test_the_stub_of_the_results_is_that_of_the_module():
    module = names_of(ast.parse((PACKAGE / "ops/_types.py").read_text()).body)
    stub = names_of(ast.parse((PACKAGE / "ops/_types.pyi").read_text()).body)
    for name, node in module.items():
        if name.startswith("_"):
            continue
        assert type(stub[name]) is type(node), name
        if isinstance(node, ast.ClassDef):
            assert list(names_of(stub[name].body)) == list(names_of(node.body)), name
        else:
            assert ast.unparse(stub[name].args) == ast.unparse(node.args), name


TOLD = {"typing.SupportsInt": "int", "typing.SupportsFloat": "float", "bool": "bool", "str": "str"}
TOLD |= {"numpy.ndarray": "np.ndarray[Any, np.dtype[Any]]", "object": "object"}


def test_the_stub_of_the_extension_names_what_it_has_beside_the_kernels():
    stub = names_of(ast.parse((PACKAGE / "_core.pyi").read_text()).body)
    assert "__getattr__" in stub  # the kernels
    there = {name: getattr(_core, name) for name in dir(_core) if not name.startswith("__")}
    # pybind11 writes the signature into the docstring; a kernel's is the names of its fields
    kernels = {n for n, v in there.items() if callable(v) and not v.__doc__.startswith(f"{n}(")}
    assert {"augment", "physio_neighbors", "detect_rpeaks_float32", "contrastive_loss_float64"} <= kernels
    assert set(stub) - {"__getattr__"} == set(there) - kernels
    for name, node in stub.items():
        if not isinstance(node, ast.FunctionDef) or name == "__getattr__":
            continue
        arguments, result = re.fullmatch(rf"{name}\((.*)\) -> (.*)", there[name].__doc__.splitlines()[0]).groups()
        has = [TOLD[a.split(": ")[1].split(" | ")[0]] for a in arguments.split(", ")] if arguments else []
        says = [ast.unparse(a.annotation) for a in node.args.posonlyargs]
        assert says == has and not node.args.args, name
        assert ast.unparse(node.returns).split("[")[0] == result.split("[")[0], name
    for name, node in stub.items():
        if isinstance(node, ast.AnnAssign):
            kind, _, inside = ast.unparse(node.annotation).partition("[")
            assert type(there[name]).__name__ == {"ModuleType": "module"}.get(kind, kind), name
            if inside.startswith("str"):
                assert all(type(key) is str for key in there[name]), name
