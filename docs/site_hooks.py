"""What the documentation takes from the packages: a section for each, the table on the first page, and the formulas.

Tutorials (`docs/PACKAGE/tutorial.py`, in percent format), how-to pages (`docs/howto`, with the names of
`docs/PACKAGE/values.toml` put in, or `docs/PACKAGE/PAGE.md`) and guides are run while the site is built; what they print and
draw is part of the page.

A package's pages lie where its files lie (`adapmtl/README.md`, `adapmtl/CHANGELOG.md`, `adapmtl/images/...`), so that
the links between them hold in the repository and here. Formulas become MathML, which browsers draw without any script.
"""

import ast
import html
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from execute import percent_to_markdown

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CORE = "mtl-core"
ONLY = os.environ.get("DOCS_PACKAGE", "")
"""A package whose section is built alone, with core's; default all."""

PACKAGES = sorted(
    (path.parent for path in ROOT.glob("packages/*/pyproject.toml") if not ONLY or path.parent.name in (CORE, ONLY)),
    key=lambda p: (p.name != CORE, p.name),
)
GUIDES = {
    "Getting started": "getting-started.md",
    "Choosing a method": "choosing.md",
    "Combining methods": "combining.md",
    "Command line": "command-line.md",
}
MORE = {
    "Notation": "notation.md",
    "Reproducing the papers": "reproducing.md",
    "A method of your own": "method.md",
    "Contributing": "CONTRIBUTING.md",
}
EVERY = ("README.md", "CHANGELOG.md")
HOWTO = {
    "Your own network": "network",
    "Your own data": "data",
    "Several machines": "ranks",
    "Stop and continue": "resume",
    "Deploy": "deploy",
}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
FROM_THE_WEB = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>')


def on_config(config: MkDocsConfig) -> None:
    """Guides, one section per package, and the rest."""
    sections: list[Any] = []
    for p in PACKAGES:
        own = {
            path.stem.capitalize(): path.name
            for path in sorted(p.glob("*.md"))
            if path.name not in ("README.md", "CHANGELOG.md")
        }
        pages: list[Any] = [{"Method card" if p.name != CORE else "Overview": f"{p.name}/README.md"}]
        if (DOCS / p.name).is_dir():
            pages.append({"Tutorial": f"{p.name}/tutorial.md"})
            pages.append({"How to": [{title: f"{p.name}/{stem}.md"} for title, stem in HOWTO.items()]})
        pages += [{title: f"{p.name}/{page}"} for title, page in own.items()]
        sections.append({p.name: [*pages, {"API": f"{p.name}/api.md"}, {"Changelog": f"{p.name}/CHANGELOG.md"}]})
    if ONLY:
        config.nav = [{"Home": "index.md"}, *reversed(sections)]
        return
    guides, more = ([{title: page} for title, page in pages.items()] for pages in (GUIDES, MORE))
    config.nav = [{"Guide": [{"Home": "index.md"}, *guides]}, *sections, {"More": more}]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the packages' own pages and pictures, and run what is to be run."""
    kept = [file for file in files if not (ONLY and file.src_uri in (*GUIDES.values(), *MORE.values()))]
    made = {"howto", *(path.parent.name for path in DOCS.glob("*/values.toml"))}  # their pages are added below
    files = Files([file for file in kept if file.src_uri.partition("/")[0] not in made])
    if ONLY:
        home = f"# {ONLY}\n\nThe documentation of `{ONLY}` and of `{CORE}`, on which it stands.\n\n<!-- table of packages -->\n"
        files.remove(next(file for file in files if file.src_uri == "index.md"))
        files.append(File.generated(config, "index.md", content=home))
    else:
        files.append(File.generated(config, "CONTRIBUTING.md", abs_src_path=str(ROOT / "CONTRIBUTING.md")))
    for package in PACKAGES:
        files.append(File.generated(config, f"{package.name}/api.md", content=api_page(package)))
        for path in [*package.glob("*.md"), *package.glob("images/*")]:
            name = f"{package.name}/{path.relative_to(package).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    guides = [] if ONLY else [*GUIDES.values(), "method.md"]
    pages = {page: (DOCS / page).read_text(encoding="utf-8") for page in guides}
    for package in PACKAGES:
        pages |= pages_of(package.name)
    for name, content in run(pages).items():
        if (old := files.get_file_from_path(name)) is not None:
            files.remove(old)
        files.append(File.generated(config, name, content=content))
    return files


def pages_of(package: str) -> dict[str, str]:
    """Tutorial and how-to pages of a package: its own, or what holds for all, with its names put in."""
    folder = DOCS / package
    if not folder.is_dir():
        return {}
    values = tomllib.loads((folder / "values.toml").read_text(encoding="utf-8"))
    pages = {f"{package}/tutorial.md": percent_to_markdown((folder / "tutorial.py").read_text(encoding="utf-8"))}
    for stem in HOWTO.values():
        own = folder / f"{stem}.md"
        text = (own if own.exists() else DOCS / "howto" / f"{stem}.md").read_text(encoding="utf-8")
        pages[f"{package}/{stem}.md"] = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]].strip(), text)
    return pages


def run(pages: Mapping[str, str]) -> dict[str, str | bytes]:
    """Pages, and their pictures, after their Python has run; each folder in a process of its own, two at a time."""
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for name, text in pages.items():
            folder = top / (Path(name).parent.name or "guide")
            folder.mkdir(exist_ok=True)
            (folder / Path(name).name).write_text(text, encoding="utf-8")

        def executed(folder: Path) -> str:
            command = [sys.executable, str(DOCS / "execute.py"), str(folder)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            return done.stderr if done.returncode else ""

        folders = sorted(path for path in top.iterdir())
        with ThreadPoolExecutor(2) as pool:
            failed = [error for error in pool.map(executed, folders) if error]
        if failed:
            raise PluginError("\n".join(failed))
        found: dict[str, str | bytes] = {}
        for folder in folders:
            place = "" if folder.name == "guide" else f"{folder.name}/"
            for path in folder.iterdir():
                page = path.suffix == ".md"
                found[place + path.name] = path.read_text(encoding="utf-8") if page else path.read_bytes()
        return found


def api_page(package: Path) -> str:
    """A section for each module; what an `__init__` only hands on stands in the module that defines it."""
    lines = [f"# API of {package.name}"]
    for path in sorted(package.glob("src/**/*.py"), key=lambda path: str(path.with_suffix("")).replace("__init__", "")):
        *parents, stem = path.relative_to(package / "src").with_suffix("").parts
        if stem == "__init__":
            lines.append(f"::: {'.'.join(parents)}\n    options:\n      members: false")
            if names := exported(path):
                lines.append(f"Importable from here: {', '.join(f'`{name}`' for name in names)}.")
        elif not stem.startswith("_"):
            lines.append(f"::: {'.'.join([*parents, stem])}")
    return "\n\n".join(lines)


def exported(path: Path) -> list[str]:
    """The names in a module's `__all__`, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the table of packages in; what each is for stands once, in its pyproject."""
    rows = ["| Package | What it does |", "|---|---|"]
    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        rows.append(f"| [{project['name']}]({package.name}/README.md) | {project['description']} |")
    return markdown.replace("<!-- table of packages -->", "\n".join(rows))


def on_page_content(html_text: str, page: Page, **_: Any) -> str:
    """Turn formulas into MathML; one that has no such form fails the build."""

    def mathml(match: re.Match[str]) -> str:
        formula = html.unescape(match[3]).strip()
        result = convert(formula.replace(r"\operatorname*", r"\operatorname"), "inline" if match[2] == "(" else "block")
        if "\\" in result:
            raise PluginError(f"{page.file.src_uri}: MathML has no form of this formula: {formula}")
        return f'<{match[1]} class="formula">{result}</{match[1]}>'

    return FORMULA.sub(mathml, html_text)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse a page that would load something from the web."""
    if found := FROM_THE_WEB.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the web, and must not: {found[0]}")
    return output
