"""Run the Python of documentation pages, and put what it prints and draws under each block.

    python docs/execute.py FOLDER

changes every Markdown page in the folder in place. The blocks of a page run in order, in one namespace, in an empty folder of
their own, seeded, warnings as errors; what a block prints comes under it, and where its last line is a figure, the picture.
A block after `<!-- not run -->` is left as it is.
"""

import ast
import contextlib
import io
import os
import re
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^(?P<skip><!-- not run -->\n)?```python\n(?P<code>.*?)^```\n?", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Execute the pages of a folder, or say in which line one fails."""
    import torch  # here: the hooks of the site import the rest

    folder = Path(sys.argv[1]).resolve()
    warnings.simplefilter("error")
    for page in sorted(folder.rglob("*.md")):
        torch.manual_seed(0)  # of what a page draws: it comes out the same whenever it is built
        with tempfile.TemporaryDirectory() as empty:
            os.chdir(empty)
            try:
                page.write_text(executed(page.read_text(encoding="utf-8"), page), encoding="utf-8")
            except Exception:
                sys.exit(f"{page.relative_to(folder)}:\n{traceback.format_exc()}")
            finally:
                os.chdir(folder)


def executed(text: str, page: Path) -> str:
    """A page with what its blocks print and draw; pictures lie beside it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    pictures = 0

    def shown(match: re.Match[str]) -> str:
        nonlocal pictures
        if match["skip"]:
            return match[0].removeprefix(match["skip"])
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            value = run(match["code"], names, f"{page.name}, line {text.count(chr(10), 0, match.start('code')) + 1}")
        parts = [match[0].rstrip("\n")]
        if printed := said.getvalue().rstrip():
            parts.append(f"```text\n{printed}\n```")
        if hasattr(value, "savefig"):
            pictures += 1
            name = f"{page.stem}-{pictures}.png"
            value.savefig(page.with_name(name), dpi=150)
            parts.append(f"![{caption(match['code'], names)}]({name})")
        return "\n\n".join(parts) + "\n"

    return BLOCK.sub(shown, text)


def run(code: str, names: dict[str, Any], where: str) -> Any:
    """Run a block; the value of its last line where that is an expression."""
    body = ast.parse(code, where)
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    exec(compile(body, where, "exec"), names)
    return eval(compile(ast.Expression(last.value), where, "eval"), names) if isinstance(last, ast.Expr) else None


def caption(code: str, names: dict[str, Any]) -> str:
    """What the function that drew a figure says of it."""
    call = ast.parse(code).body[-1]
    drawn = (
        eval(ast.unparse(call.value.func), names)
        if isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
        else None
    )
    return (getattr(drawn, "__doc__", None) or "A figure.").strip().partition("\n")[0]


def percent_to_markdown(script: str) -> str:
    """A script in percent format as Markdown: `# %% [markdown]` begins text, `# %%` code."""
    parts = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if kind.strip() == "[markdown]":
            parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()))
        else:
            parts.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
