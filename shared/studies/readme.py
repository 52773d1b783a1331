"""What READMEs show of rows: tables between markers, and pictures that carry the hash of the rows they were made of.

`<!-- study: NAME -->` and `<!-- bench: NAME -->` begin a table in `packages/PACKAGE/README.md`, `<!-- end -->` ends it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from study import ROOT, Named

BLOCK = re.compile(r"(?P<begin><!-- (?P<kind>study|bench): (?P<name>[\w-]+) -->)\n.*?(?P<end><!-- end -->)", re.DOTALL)

Tables = Mapping[tuple[str, str], Callable[[], str]]
"""Makes a table, by kind and name."""


def path_of(package: str) -> Path:
    """A package's README."""
    return ROOT / "packages" / package / "README.md"


def with_tables(text: str, tables: Tables) -> str:
    """The text with the tables that `tables` can make; other blocks stay as they are.

    Examples:
        >>> print(with_tables("<!-- study: a -->\\nold\\n<!-- end -->", {("study", "a"): lambda: "new"}))
        <!-- study: a -->
        <BLANKLINE>
        new
        <BLANKLINE>
        <!-- end -->
    """

    def made(block: re.Match[str]) -> str:
        make = tables.get((block["kind"], block["name"]))
        return block[0] if make is None else f"{block['begin']}\n\n{make()}\n\n{block['end']}"

    return BLOCK.sub(made, text)


def blocks(text: str) -> list[tuple[str, str]]:
    """Kind and name of each block."""
    return [(block["kind"], block["name"]) for block in BLOCK.finditer(text)]


def tables_of(named: Named) -> dict[tuple[str, str], Callable[[], str]]:
    """What makes the tables of a study."""
    rows = named.rows()
    return {("study", name): lambda table=table: table(rows) for name, table in named.study.tables.items()}  # type: ignore[misc]


def write(package: str, tables: Tables) -> None:
    """Put tables into a package's README."""
    path = path_of(package)
    before = path.read_text(encoding="utf-8")
    after = with_tables(before, tables)
    if after != before:
        path.write_text(after, encoding="utf-8")
        print(f"{path.relative_to(ROOT)} has new tables", flush=True)


def picture(named: Named, name: str) -> Path:
    """Where a picture of a study lies."""
    return ROOT / "packages" / named.package / "images" / f"{name}.png"


def draw(named: Named) -> None:
    """Draw those pictures of a study that were made of other rows."""
    rows = named.rows()
    for name, make in named.study.pictures.items():
        path = picture(named, name)
        if digest_in(path) != rows.digest():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(rows).savefig(path, dpi=110, bbox_inches="tight", metadata={"rows": rows.digest()})
            print(f"{path.relative_to(ROOT)} is new", flush=True)


def digest_in(path: Path) -> str | None:
    """The hash of the rows that a picture was made of."""
    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        found = image.info.get("rows")
    return found if isinstance(found, str) else None
