"""What the documentation takes from the packages: a section for each, the table on the first page, and the formulas.

A package's pages lie where its files lie (`adapmtl/README.md`, `adapmtl/CHANGELOG.md`, `adapmtl/images/...`), so that
the links between them hold in the repository and here. Formulas become MathML, which browsers draw without any script.
"""

import ast
import html
import re
import tomllib
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
CORE = "mtl-core"
PACKAGES = sorted(
    (path.parent for path in ROOT.glob("packages/*/pyproject.toml")), key=lambda p: (p.name != CORE, p.name)
)
PAGES = {"Method card": "README.md", "API": "api.md", "Changelog": "CHANGELOG.md"}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
FROM_THE_WEB = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>')


def on_config(config: MkDocsConfig) -> None:
    """One section per package: the pages that each has, then its own, by the name of the file."""
    sections = []
    for p in PACKAGES:
        own = {path.stem.capitalize(): path.name for path in sorted(p.glob("*.md")) if path.name not in PAGES.values()}
        sections.append({p.name: [{title: f"{p.name}/{page}"} for title, page in (PAGES | own).items()]})
    config.nav = [{"Overview": "index.md"}, *sections, {"Contributing": "CONTRIBUTING.md"}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the packages' own pages and pictures."""
    files.append(File.generated(config, "CONTRIBUTING.md", abs_src_path=str(ROOT / "CONTRIBUTING.md")))
    for package in PACKAGES:
        files.append(File.generated(config, f"{package.name}/api.md", content=api_page(package)))
        for path in [*package.glob("*.md"), *package.glob("images/*")]:
            name = f"{package.name}/{path.relative_to(package).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))


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
        return f"<{match[1]}>{result}</{match[1]}>"

    return FORMULA.sub(mathml, html_text)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse a page that would load something from the web."""
    if found := FROM_THE_WEB.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the web, and must not: {found[0]}")
    return output
