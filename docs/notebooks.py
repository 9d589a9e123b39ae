"""The tutorials: executes docs/tutorials/*.ipynb and keeps what they show; as a hook of mkdocs, makes pages of them.

    python docs/notebooks.py [NAME ...]      # after a change of a cell: runs them, look at the pictures, commit

A cell is run as Jupyter runs it: its output is what it prints and the value of its last line, pictures among them. No
package of Jupyter is needed, here or for the site.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).parent / "tutorials"
COLOURS, WIDTH = 64, 900  # few are enough for lines on paper, and the files stay small


class Image:
    """Stands for IPython.display.Image where IPython is not installed."""

    def __init__(self, filename):
        self.filename = str(filename)


def shrunk(path):
    from PIL import Image as Pictures

    image = Pictures.open(path).convert("RGB")
    image.thumbnail((WIDTH, 2 * WIDTH))
    small = io.BytesIO()
    image.quantize(COLOURS, Pictures.Quantize.MAXCOVERAGE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def shown(value):
    """The output that Jupyter would write for the value of a cell's last line."""
    if hasattr(value, "filename"):
        data = {"image/png": shrunk(value.filename), "text/plain": ["a picture"]}
        return {"output_type": "display_data", "data": data, "metadata": {}}
    data = {"text/plain": repr(value).splitlines(keepends=True)}
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None}


def execute(notebook, replace=None):
    """Runs the code cells in order, in a folder of their own; sets their outputs.

    replace: {text: another}, as {"steps = 60": "steps = 2"}; each must occur.
    """
    display = types.ModuleType("IPython.display")
    display.Image = Image
    names = {"__name__": "__main__"}
    before = sys.modules.get("IPython.display")
    sys.modules["IPython.display"] = display
    left = dict(replace or {})
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for number, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), 1):
                source = "".join(cell["source"])
                for text, other in (replace or {}).items():
                    if text in source:
                        source = source.replace(text, other)
                        left.pop(text, None)
                body = ast.parse(source).body
                last = body.pop() if isinstance(body[-1], ast.Expr) else None
                printed, value = io.StringIO(), None
                with contextlib.redirect_stdout(printed):
                    exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
                    if last is not None:
                        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
                text = printed.getvalue()
                stream = {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
                cell["outputs"] = [stream] * bool(text) + ([] if value is None else [shown(value)])
                cell["execution_count"] = number
                for output in cell["outputs"]:
                    if "execution_count" in output:
                        output["execution_count"] = number
    finally:
        sys.modules.pop("IPython.display")
        if before is not None:
            sys.modules["IPython.display"] = before
    if left:
        raise ValueError(f"no cell contains {', '.join(left)}")


def page(notebook, name):
    """(Markdown, {file name: PNG}) of an executed notebook."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}_{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell draws]({file})")
            else:
                parts.append("```text\n" + "".join(output.get("text", data.get("text/plain", []))).rstrip() + "\n```")
    parts.append(f"[This page as a notebook]({name}.ipynb)")
    return "\n\n".join(parts) + "\n", pictures


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def on_files(files, config):
    """mkdocs: a page for each notebook, which itself stays beside it to be downloaded."""
    from mkdocs.structure.files import File

    for path in sorted(HERE.glob("*.ipynb")):
        text, pictures = page(read(path), path.stem)
        for name, content in ((f"{path.stem}.md", text), *pictures.items()):
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "100")
    for path in sorted(HERE.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            made = read(path)
            execute(made)
            path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(path.name, path.stat().st_size // 1024, "kB")
