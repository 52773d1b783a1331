"""The papers' printed tables: the form of the files, and figures read by hand in the papers."""

import csv
import math
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "shared" / "paper_results"
FILES = sorted(FOLDER.glob("*.csv"))
COLUMNS = ["row", "column", "value", "unit", "misprint", "correct", "note"]
UNITS = {"", "%", "m", "degrees", "M parameters", "GFLOP", "x one encoder"}
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")

# (file, row, column): printed, what should stand there ("" where nobody can tell; None where the print is right).
GOLDEN: dict[tuple[str, str, str], tuple[str, str | None]] = {
    ("dmo_table1", "DMO (ours)", "Avg"): ("89.73", None),
    ("dmo_table4", "DMO (ours) / #layers 14", "Scenario 2 / #P"): ("8.1", None),
    ("dmo_table3", "DMO (ours)", "Avg"): ("74.40", "74.75"),
    ("dmo_table3", "NDDR", "#P"): ("252.83", ""),
    ("dmo_table2", "DMO (ours)", "Ratio"): ("0.14", "0.15"),
    ("lomt_table1", "LOMT (ours)", "Surface normal estimation / angular error / Median"): ("13.29", None),
    ("lomt_table2", "LOMT model / T1, T2, T3", "Seg. (T1) / IoU"): ("0.4325", None),
    ("lomt_table2", "LOMT model / T1, T2, T3", "Seg. (T1) / IoU / std"): ("0.0021", None),
    ("lomt_table5", "T4", "#parameters / sparse STL"): ("1.5", None),
    ("lomt_table5", "T1, T3", "#parameters / LOMT"): ("7.29", "9.19"),
    ("lomt_table5", "T1, T2, T3", "CR / dense STL vs sparse STL"): ("4.59", "3.21"),
    ("adapmtl_table1", "AdapMTL (ours)", "Sparsity / Backbone"): ("71.74", None),
    ("adapmtl_table2", "AdapMTL (ours)", "Δ_T"): ("2.66", None),
    ("adapmtl_table5", "AdapMTL", "Δ_T1"): ("3.55", None),
    ("adapmtl_table1", "AdapMTL w/o adaptive thresholds", "Sparsity / S. S. head"): ("39.37", "89.4"),
    ("adapmtl_table4", "Deeplab-ResNet34", "Params"): ("197.6", "90.7"),
    ("dagmtl_table1", "Ours (M = 5)", "Test Acc."): ("95.71", None),
    ("dagmtl_table5", "Depth", "S"): ("0.192", None),
    ("dagmtl_table2", "Ours (M = 7)", "Δ_T_norm"): ("9.2", ""),
    ("dagmtl_table6", "Ours (M=7)", "Δ_T_norm"): ("10.7", ""),
    ("dmtg_celeba9", "K = 2 / Ours", "Total Error"): ("52.97", None),
    ("dmtg_taskonomy5", "K = 5 / Ours", "NormGain_L"): ("65.01", None),
    ("dmtg_taskonomy5_tasks", "K = 3 / RG", "Depth Estimation / NormGain_L"): ("-195.88", None),
    ("dmtg_celeba9", "K = 3 / RG", "Total Error"): ("54.57", ""),
    ("dmtg_vit", "ViT-Base / Ours", "Total Loss"): ("0.326", None),
}

# Columns that print the mean of other columns of the same row.
MEANS = {
    "dmo_table1": ("Avg", ["CIFAR-10", "STL-10", "USPS", "MNIST"]),
    "dmo_table3": ("Avg", ["Airc.", "C100", "Dped", "DTD", "GTSR", "Flwr", "Oglt", "SVHN", "UCF"]),
    "adapmtl_table3": ("Δ_T", ["Δ_T1", "Δ_T2", "Δ_T3", "Δ_T4", "Δ_T5"]),
    "adapmtl_table5": ("Δ_T", ["Δ_T1", "Δ_T2", "Δ_T3"]),
    "dagmtl_table2": ("Δ_T", ["Δ_T_sem", "Δ_T_norm", "Δ_T_dep"]),
    "dagmtl_table3": ("Δ_T", ["Δ_T_sem", "Δ_T_dep"]),
    "dagmtl_table4": ("Δ_T", ["Δ_T_sem", "Δ_T_part", "Δ_T_sal", "Δ_T_norm", "Δ_T_edge"]),
    "dagmtl_table6": ("Δ_T", ["Δ_T_sem", "Δ_T_dep", "Δ_T_norm"]),
}


def read(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cells(name: str) -> dict[str, dict[str, dict[str, str]]]:
    """The lines of a file by row and column."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for line in read(name):
        table.setdefault(line["row"], {})[line["column"]] = line
    return table


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_the_columns_and_every_line_a_cell_for_each(path: Path) -> None:
    """The header is the seven columns, every line has seven cells, and there is at least one."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == COLUMNS
    assert {len(line) for line in lines} == {len(COLUMNS)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_number_is_a_finite_float_without_sign_of_unit(path: Path) -> None:
    """Values and corrections are plain decimal numbers, units are the known ones, labels are not empty."""
    for line in read(path.stem):
        assert NUMBER.fullmatch(line["value"]), line
        assert math.isfinite(float(line["value"])), line
        assert not line["correct"] or NUMBER.fullmatch(line["correct"]), line
        assert line["unit"] in UNITS, line
        assert line["row"].strip() == line["row"] != "", line
        assert line["column"].strip() == line["column"] != "", line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cell_stands_once(path: Path) -> None:
    """No (row, column) occurs twice in a file."""
    keys = [(line["row"], line["column"]) for line in read(path.stem)]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_misprint_says_why_and_nothing_else_does(path: Path) -> None:
    """A marked number has a note and no correction equal to it; an unmarked one has neither note nor correction."""
    for line in read(path.stem):
        assert line["misprint"] in {"0", "1"}, line
        if line["misprint"] == "1":
            assert line["note"], line
            assert line["correct"] != line["value"], line
        else:
            assert line["correct"] == line["note"] == "", line


def test_the_readme_names_the_files_that_exist() -> None:
    """Every file is described, and every file described exists."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"[\w-]+\.csv", text)) == {path.name for path in FILES}


@pytest.mark.parametrize("package", ["dmo", "lomt", "adapmtl", "dagmtl", "dmtg"])
def test_a_paper_has_tables(package: str) -> None:
    """Each of the five papers has at least one file."""
    assert [path for path in FILES if path.stem.startswith(f"{package}_")]


@pytest.mark.parametrize("key", GOLDEN, ids=" | ".join)
def test_a_figure_is_the_one_that_the_paper_prints(key: tuple[str, str, str]) -> None:
    """Figures read by hand in the papers, among them misprints with what should stand there."""
    name, row, column = key
    printed, correct = GOLDEN[key]
    line = cells(name)[row][column]
    assert line["value"] == printed
    assert line["misprint"] == ("0" if correct is None else "1")
    assert line["correct"] == (correct or "")


@pytest.mark.parametrize("name", MEANS)
def test_a_printed_mean_is_the_mean_where_it_is_not_marked(name: str) -> None:
    """A mean agrees with its row to within what rounding allows, or is marked and its correction agrees."""
    mean, parts = MEANS[name]
    for row, columns in cells(name).items():
        values = [columns[part]["value"] for part in parts]
        line = columns[mean]
        computed = sum(map(float, values)) / len(values)
        allowed = step(line["value"]) + sum(map(step, values)) / len(values) + 1e-9
        agrees = abs(float(line["value"]) - computed) <= allowed
        assert agrees == (line["misprint"] == "0"), (row, computed)
        assert agrees or abs(float(line["correct"]) - computed) <= allowed, (row, computed)


def step(printed: str) -> float:
    """Half of the last digit of a printed decimal number."""
    return 0.5 * 10.0 ** -len(printed.partition(".")[2])
