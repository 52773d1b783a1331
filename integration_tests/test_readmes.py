"""What the READMEs show, works: their Python blocks are executed in order, in an empty folder, warnings as errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "DEPLOY.md", "DATASETS.md")
READMES = sorted([ROOT / "README.md", *(path for name in PAGES for path in ROOT.glob(f"packages/*/{name}"))])
BLOCK = re.compile(r"(?P<skip><!-- not run -->\s*)?^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def script(markdown: str) -> str:
    """The Python blocks of a text as one script whose lines have the numbers that they have in the text."""
    lines = [""] * markdown.count("\n")
    for match in BLOCK.finditer(markdown):
        if not match["skip"]:
            first = markdown.count("\n", 0, match.start("code"))
            code = match["code"].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_blocks_of_a_readme_run(readme: Path, tmp_path: Path) -> None:
    """The Python blocks of a README run in order, in one namespace, and warn of nothing."""
    code = script(readme.read_text(encoding="utf-8"))
    if not code.strip():
        pytest.skip("no Python block")
    for name in ("onnxruntime", "openvino"):  # of the extra `export`, and of core's extra `test`
        if re.search(rf"^import {name}$", code, re.MULTILINE):
            pytest.importorskip(name)
    program = f"exec(compile({code!r}, {str(readme)!r}, 'exec'), {{'__name__': '__main__'}})"
    environment = os.environ | {"MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_skipped_block_is_left_out_and_line_numbers_are_kept() -> None:
    """`<!-- not run -->` before a block leaves it out; errors name the lines of the README."""
    text = (
        "a\n```python\nx = 1\n```\n<!-- not run -->\n```python\ny = 2\n```\n```bash\nls\n```\n```python\nz = 3\n```\n"
    )
    lines = script(text).split("\n")
    assert [(number, line) for number, line in enumerate(lines, 1) if line] == [(3, "x = 1"), (13, "z = 3")]
