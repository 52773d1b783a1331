"""The sixth method of the documentation, written to two files as the page says, passes the conformance suite."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "method.md"


def test_the_method_of_the_page_passes_every_check(tmp_path: Path) -> None:
    """Equation, configuration and procedure are the module, the suite is its test file, and the command is its main."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    equation, procedure, _, suite, command = blocks
    (tmp_path / "rlw.py").write_text(equation + procedure, encoding="utf-8")
    (tmp_path / "test_rlw.py").write_text(suite, encoding="utf-8")
    (tmp_path / "command.py").write_text(command, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    for arguments, said in (
        (["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_rlw.py"], "16 passed"),
        (["command.py", "demo", "--dry-run"], "`rlw` would train 3 tasks"),
    ):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert said in done.stdout, done.stdout + done.stderr
