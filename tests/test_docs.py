"""Every Python block of README and docs runs, and every `physioclr` line names a command and options that exist.

The blocks of a page run in order in one process, in a folder of their own, as a reader would type them. Above a block
may stand `<!-- needs: package, ... -->` (skipped where one is missing; "cuda" is a device) and `<!-- given: code -->`,
what the reader has already. `<!-- of: file -->` marks an excerpt: its lines must stand in that file.
"""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<above>(?:^<!--[^\n]*-->\n+)*)^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)


def blocks(page, language):
    text = page.read_text()
    for m in BLOCK.finditer(text):
        if m["language"] == language:
            line = text.count("\n", 0, m.start("code"))
            comments = re.findall(r"<!-- (needs|given|of): (.*?) -->", m["above"])
            code = re.sub(f"^{m['indent']}", "", m["code"], flags=re.M)
            yield line, dict(comments), code


def missing(package):
    if package == "cuda":
        import torch

        return not torch.cuda.is_available()
    return importlib.util.find_spec(package) is None


WITH_PYTHON = [p for p in PAGES if any(True for _ in blocks(p, "python"))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    skipped = []
    for line, above, code in blocks(page, "python"):
        if "of" in above:
            source = {text.strip() for text in (ROOT / above["of"]).read_text().splitlines()}
            gone = {text.strip() for text in code.splitlines()} - source - {"", "..."}
            assert not gone, f"no longer in {above['of']}"
            continue
        absent = [p for p in above.get("needs", "").split(", ") if p and missing(p)]
        if absent:
            skipped.append(f"line {line}: no {absent[0]}")
            continue
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a reader should meet none
            warnings.filterwarnings("ignore", module="torch|numba|lightning|accelerate")
            exec(above.get("given", ""), names)
            exec(compile("\n" * line + code, str(page), "exec"), names)
    if skipped and len(skipped) == len(list(blocks(page, "python"))):
        pytest.skip("; ".join(skipped))


def commands():
    for page in PAGES:
        for language in ("", "sh", "bash"):
            for line, _, code in blocks(page, language):
                for k, text in enumerate(code.replace("\\\n", " ").splitlines()):
                    for part in text.split("&&"):
                        if part.split()[:1] == ["physioclr"]:
                            words = shlex.split(part, comments=True)
                            yield pytest.param(words[1:], id=f"{page.relative_to(ROOT)}:{line + k}")


@pytest.mark.parametrize("words", list(commands()))
def test_commands_exist(words):
    import typer

    from physioclr.cli import app

    command, parents = typer.main.get_command(app), []
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
        parents.append(command.name)
    known = {o for p in command.params for o in [*p.opts, *p.secondary_opts]} | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"physioclr {' '.join(parents)} has no {word}"


def test_every_page_is_in_the_site():
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [str(p.relative_to(ROOT / "docs")) for p in PAGES[1:]]
    assert [p for p in pages if p not in nav] == []


def test_pages_stay_short():
    assert os.path.getsize(ROOT / "README.md") < 12_000
