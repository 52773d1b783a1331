"""A report as a page: the same blocks as one self-contained HTML file and as Markdown.

The HTML needs no script, no network and no other file: the style stands in it, pictures are data. It follows the reader's
light or dark scheme and fits a phone. Everything that is put into a block is escaped.
"""

import base64
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Text:
    """A paragraph, or several sentences as a list."""

    sentences: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header.

    Attributes:
        header: Names of the columns.
        rows: As many cells each.
        signed: Columns whose cells begin with + (better) or − (worse).
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    signed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A plot with its caption.

    Attributes:
        name: The file's name in `plots/`, without suffix.
        caption: One sentence.
        png: The picture in pixels.
        svg: The picture in lines.
        shown: Which of both the HTML page shows.
    """

    name: str
    caption: str
    png: bytes
    svg: bytes
    shown: Literal["png", "svg"] = "svg"


Block: TypeAlias = Text | Table | Picture


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; without a title, they open the page."""

    title: str
    blocks: tuple[Block, ...]


def html(title: str, sections: Sequence[Section]) -> str:
    """The page as one self-contained HTML file.

    Args:
        title: Heading of the page.
        sections: What it holds.

    Examples:
        >>> page = html("a < b", [Section("Facts", (Table(("x",), (("<script>",),)),))])
        >>> "<h1>a &lt; b</h1>" in page, "<script>" in page
        (True, False)
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        parts += [f"<h2>{escape(section.title)}</h2>"] if section.title else []
        parts += [_html_block(block) for block in section.blocks]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:image/svg+xml,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The page as Markdown, pictures as files in `plots/`.

    Args:
        title: Heading of the page.
        sections: What it holds.

    Examples:
        >>> print(markdown("Run", [Section("Facts", (Table(("task", "Δ"), (("a|b", "+1"),)),))]))
        # Run
        <BLANKLINE>
        ## Facts
        <BLANKLINE>
        | task | Δ |
        |---|--:|
        | a\\|b | +1 |
        <BLANKLINE>
    """
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts += [f"## {_plain(section.title)}"] if section.title else []
        parts += [_markdown_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def aligned(table: Table) -> Iterator[str]:
    """The table as lines for a terminal, numbers on the right.

    Args:
        table: What to show; without rows there is no line.

    Examples:
        >>> print(*aligned(Table(("task", "share"), (("depth", "0.5"), ("parts", "12.0")))), sep="\\n")
        task   share
        depth    0.5
        parts   12.0
    """
    rows = [table.header, *table.rows] if table.rows else []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    right = _numeric(table)
    for row in rows:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def number(value: Any) -> str:
    """A value with the digits that it deserves.

    Examples:
        >>> [number(v) for v in (1234567, 0.81249, 12.3456, 0.0001234, float("nan"), 0.0, True, "x")]
        ['1,234,567', '0.812', '12.35', '0.000123', '—', '0', 'yes', 'x']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "—"
    size = abs(value)
    if size == 0 or size == math.inf:
        return f"{value:g}".replace("-", "−")
    digits = ".3g" if size < 0.01 or size >= 1e7 else ".3f" if size < 10 else ".2f" if size < 100 else ",.1f"
    return f"{value:{digits}}".replace("-", "−", 1)


def signed(percent: float) -> str:
    """A change in percent, + or − before it.

    Examples:
        >>> [signed(value) for value in (1.25, -3.0, float("nan"))]
        ['+1.2 %', '−3.0 %', '—']
    """
    return "—" if math.isnan(percent) else f"{percent:+.1f} %".replace("-", "−")


def _html_block(block: Block) -> str:
    if isinstance(block, Text):
        if block.listed:
            return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in block.sentences) + "</ul>"
        return f"<p>{escape(' '.join(block.sentences))}</p>"
    if isinstance(block, Picture):
        kind, data = ("svg+xml", block.svg) if block.shown == "svg" else ("png", block.png)
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        alt = escape(block.caption or block.name, quote=True)
        return f'<figure><img alt="{alt}" src="{source}"><figcaption>{escape(block.caption)}</figcaption></figure>'
    numeric = _numeric(block)
    head = "".join(f"<th{_class(numeric[i])}>{escape(name)}</th>" for i, name in enumerate(block.header))
    rows = []
    for row in block.rows:
        cells = [
            f"<td{_class(numeric[i], cell if i in block.signed else '')}>{escape(cell)}</td>"
            for i, cell in enumerate(row)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>' + "\n".join(rows) + "</tbody></table></div>"
    )


def _markdown_block(block: Block) -> str:
    if isinstance(block, Text):
        return ("\n" if block.listed else " ").join(
            f"{'* ' if block.listed else ''}{_plain(s)}" for s in block.sentences
        )
    if isinstance(block, Picture):
        return f"![{_plain(block.caption or block.name)}](plots/{block.name}.png)\n\n{_plain(block.caption)}".rstrip()
    ruler = "|".join("--:" if right else "---" for right in _numeric(block))
    lines = [f"| {' | '.join(_plain(name) for name in block.header)} |", f"|{ruler}|"]
    return "\n".join(lines + [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in block.rows])


def _numeric(table: Table) -> list[bool]:
    """Whether a column holds numbers, which stand on the right."""
    columns: list[tuple[str, ...]] = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.header)
    found = [all(NUMBER.match(cell) for cell in column if cell) for column in columns]
    return [bool(column) and any(column) and right for column, right in zip(columns, found, strict=True)]


def _class(right: bool, signed: str = "") -> str:
    names = ["n"] if right else []
    names += {"+": ["good"], "−": ["bad"]}.get(signed[:1], [])
    return f' class="{" ".join(names)}"' if names else ""


def _plain(text: str) -> str:
    """Text that Markdown and the HTML made of it leave as it is."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", escape(" ".join(text.split()), quote=False))


NUMBER = re.compile(r"^([+−-]?[\d.,]+(e[+-]?\d+)?( ± [\d.,]+)?( ?[%°a-z]{1,4})?|—|n/a)$")

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--back:#fff;--good:#00614a;--bad:#9c3f00}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9da7b1;--line:#3a424b;--back:#14181c;--good:#4fd1a5;
--bad:#ff9d5c}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:52rem;margin:0 auto;padding:1.25rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
p,ul{margin:.5rem 0;overflow-wrap:anywhere}ul{padding-left:1.2rem}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem .3rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);white-space:nowrap}
.n{text-align:right;white-space:nowrap}.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
figure{margin:1.25rem 0}
img{display:block;width:100%;max-width:44rem;height:auto;background:#fff;border-radius:6px;padding:.4rem}
figcaption{color:var(--soft);font-size:.875rem;margin-top:.4rem}
"""
