"""Reports: one self-contained page, the same again from the folder, and figures beside those of the baselines."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mtl_core as core
from mtl_core.checkpoint import StorageError
from mtl_core.comparison import compare, take_samples
from mtl_core.data import MultiTaskData
from mtl_core.model import SharedBackbone
from mtl_core.page import Section, Table, Text, html, markdown, number
from mtl_core.plots import canvas
from mtl_core.report import history, read_report, write_report
from mtl_core.result import Report, Result
from mtl_core.sections import metric_table
from mtl_core.task import Task, attribute, classification, depth, normals, segmentation

EVIL = '<script>alert("1")</script>|`x`'


def data(parts: tuple[str, ...] = ("train", "validation", "test")) -> MultiTaskData:
    """Eight grey images of 6×8 with labels of every kind of task; half of each map is not labelled."""
    generator = torch.Generator().manual_seed(0)
    tasks = [segmentation("parts", 3), depth("depth"), normals("normals"), classification("kind", 4), attribute("tall")]
    samples = []
    for index in range(8):
        image = torch.rand(1, 6, 8, generator=generator)
        parts_map = (image[0] * 3).long()
        parts_map[:3] = 255
        metres = image + 1
        metres[:, :3] = 0
        normal = nn.functional.normalize(torch.randn(3, 6, 8, generator=generator), dim=0)
        targets = {"parts": parts_map, "depth": metres, "normals": normal, "kind": index % 4, "tall": float(index % 2)}
        samples.append((image, targets))
    train, validation, test = (samples if part in parts else None for part in ("train", "validation", "test"))
    return MultiTaskData(tasks, train, validation, test)


def head(channels: int, task: Task) -> nn.Module:
    if task.dense:
        return nn.Conv2d(channels, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(nn.Conv2d(1, 4, 3, 2, 1), tasks, head, example=torch.zeros(1, 1, 6, 8))


@pytest.fixture(scope="module")
def compared() -> Result:
    run = core.Run(progress=False)
    result = core.fit(build, data(), core.Config(epochs=2, batch_size=4), run)
    other = core.fit(build, data(), core.Config(epochs=3, batch_size=4), run)
    return compare(result, data(), {"dense": other}).extended(headline=[f"Asked 90 %, reached 90.1 %. {EVIL}"])


@pytest.fixture(scope="module")
def saved(compared: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    compared.save(folder)
    return folder


class Page(HTMLParser):
    """Collects tags, what they refer to, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag not in ("meta", "img", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def curve(report: Any) -> Any:
    """A curve <of> the method."""
    figure, axes = canvas()
    axes[0, 0].plot([1, 2], [3, report["seed"]])
    return figure


def nothing(report: Any) -> None:
    """A plot that has nothing to draw."""


def test_the_page_is_one_file_without_script_or_reference(saved: Path) -> None:
    """The page is well-formed, refers to nothing outside itself, and what a report says cannot become markup."""
    text = (saved / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:image/") for link in page.links)
    assert "&lt;script&gt;" in text
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text


def test_a_saved_folder_gives_the_same_pages_again(saved: Path) -> None:
    """Pages and pictures come from the folder alone, byte for byte."""
    files = [path for path in saved.rglob("*") if path.suffix in (".html", ".md", ".csv", ".png", ".svg")]
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    write_report(saved)
    assert {path: path.read_bytes() for path in files} == before
    names = {path.name for path in files}
    assert {"report.html", "report.md", "history.csv", "loss_history.png", "metrics_beside.svg"} <= names
    assert {"predictions_parts.png", "predictions_depth.png", "predictions_images.png"} <= names


def test_a_method_s_plots_are_on_the_page_with_their_captions(tmp_path: Path) -> None:
    """A plot's first docstring line is its caption; one that gives None is left out."""
    (tmp_path / "report.json").write_text('{"seed": 3}', encoding="utf-8")
    write_report(tmp_path, (curve, nothing))
    assert (tmp_path / "plots" / "curve.svg").exists()
    assert not (tmp_path / "plots" / "nothing.png").exists()
    assert "A curve &lt;of&gt; the method." in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "plots/curve.png" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_markdown_names_every_picture_that_is_there(saved: Path) -> None:
    """Each picture of the Markdown page is a file, and cells cannot break a table."""
    text = (saved / "report.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((plots/[^)]+)\)", text)
    assert len(linked) == len(set(linked)) == 6
    assert all((saved / name).is_file() for name in linked)
    assert "<script" not in text
    assert "\\|\\`x\\`" in text


def test_a_report_without_anything_makes_a_page(tmp_path: Path) -> None:
    """Every entry of a report is optional."""
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    write_report(tmp_path)
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).tags.count("h1") == 1
    assert (tmp_path / "history.csv").read_text(encoding="utf-8") == "phase,epoch,task,loss\n"


def test_a_missing_or_damaged_report_is_refused(tmp_path: Path) -> None:
    """Without a readable report there is nothing to write."""
    with pytest.raises(StorageError, match="must hold a saved result"):
        write_report(tmp_path)
    (tmp_path / "report.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(StorageError, match="is not a report"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be read"):
        read_report(tmp_path)


def test_the_report_has_what_a_reader_needs(compared: Result) -> None:
    """Figures, gains, directions, sizes and phases of both models are in the report, equal to measuring by hand."""
    report = compared.report
    assert report.part == "test"
    assert report.part_samples == 8
    assert report.metrics == core.evaluate(compared.model, data().test)
    assert set(report.baselines["dense"]) == set(report.metrics) == set(data().tasks)
    assert report.directions["mIoU"] is True
    assert report.directions["absolute_error"] is False
    gain = core.delta(report.metrics, report.baselines["dense"], [classification("kind", 4)]).tasks["kind"]
    assert report.delta["dense"]["tasks"]["kind"] == pytest.approx(gain)
    assert report.parameters["ours"]["parameters"] == sum(p.numel() for p in compared.model.parameters())
    assert sum(c["parameters"] for c in report.components.values()) == report.parameters["ours"]["parameters"]
    assert report.phases["train"]["steps"] == 4
    assert report.baseline_phases["dense"]["train"]["steps"] == 6


def test_a_figure_of_zero_makes_no_gain_and_is_said(compared: Result) -> None:
    """Nothing is relative to 0: the gain is NaN, a note says whose figure it was, and nothing fails."""
    worst = compared.model
    wrong = build(data().tasks)
    with torch.no_grad():
        for parameter in wrong.heads["depth"].parameters():
            parameter.fill_(1e3 if parameter.ndim == 1 else 0.0)  # far from every label: δ < 1.25 is 0
    report = compare(Result(worst, Report({})), data(), {"wrong": wrong}).report
    assert math.isnan(report.delta["wrong"]["tasks"]["depth"])
    assert math.isnan(report.delta["wrong"]["overall"])
    assert any("No Δ of depth against wrong" in note for note in report.notes)


def test_the_validation_part_stands_in_and_is_named(tmp_path: Path) -> None:
    """Without a test part the validation part is measured, and the page says so."""
    result = compare(Result(build(data().tasks), Report({})), data(("train", "validation")))
    assert result.report.part == "validation"
    result.save(tmp_path)
    assert "There is no test part." in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_comparing_refuses_what_it_cannot_do() -> None:
    """Nothing to measure on, or a baseline's name that would be taken for another's, is refused."""
    model = Result(build(data().tasks), Report({}))
    with pytest.raises(ValueError, match="must have a test or a validation part"):
        compare(model, data(("train",)))
    for name in ("ours", "", "a/b"):
        with pytest.raises(ValueError, match="`baselines` must have names"):
            compare(model, data(), {name: model.model})


def test_components_of_the_method_are_kept(compared: Result) -> None:
    """A method's own table of components is not replaced."""
    own = {"backbone": {"sparsity": 0.9}}
    assert compare(Result(compared.model, Report({"components": own})), data()).report.components == own


def test_samples_are_classes_and_probabilities_of_spread_samples() -> None:
    """Samples are evenly spaced; predictions have the form of the truth."""
    model = build(data().tasks)
    test = data().test
    assert test is not None
    samples = take_samples({"ours": model}, test, number=4)
    assert samples["input/0"].shape == (4, 1, 6, 8)
    assert torch.equal(samples["input/0"][3], test.sources[0].data[7][0])
    assert samples["prediction/0/ours/parts"].dtype == torch.uint8
    for task in data().tasks:
        assert samples[f"prediction/0/ours/{task}"].shape == samples[f"truth/0/{task}"].shape
    assert float(samples["prediction/0/ours/tall"].min()) > 0
    assert torch.allclose(samples["prediction/0/ours/normals"].norm(dim=1), torch.ones(()))
    assert model.training


def test_the_table_says_directions_units_and_changes() -> None:
    """Lower errors are gains; units stand beside the values."""
    report = {
        "metrics": {"depth": {"absolute_error": 0.4, "delta_1": 0.5}, "n": {"mean_angle": 20.0}},
        "baselines": {"dense": {"depth": {"absolute_error": 0.5, "delta_1": 0.0}, "n": {"mean_angle": math.nan}}},
        "directions": {"absolute_error": False, "delta_1": True, "mean_angle": False},
    }
    assert metric_table(report).rows == (
        ("depth", "absolute error ↓", "0.400 m", "0.500 m", "+20.0 %"),
        ("depth", "delta 1 ↑", "0.500", "0", "—"),
        ("n", "mean angle ↓", "20.00°", "—", "—"),
    )


def test_numbers_have_the_digits_they_deserve() -> None:
    """Counts have separators, shares three digits, infinities and negative values a true minus."""
    values = [1234, 0.5, -0.25, -math.inf, 123456.0, "text", None, False]
    assert [number(v) for v in values] == ["1,234", "0.500", "−0.250", "−inf", "123,456.0", "text", "None", "no"]


def test_history_names_phases_of_baselines() -> None:
    """Every loss of every phase is a row; a baseline's phase bears its name."""
    phases = {"train": {"history": {"a": [1.0]}}}
    text = history({"phases": phases, "baseline_phases": {"dense": phases}})
    assert text.splitlines()[1:] == ["train,1,a,1.0", "dense/train,1,a,1.0"]


def test_blocks_are_escaped_and_gains_coloured() -> None:
    """A table's signed cells are marked as better or worse; text stays text."""
    table = Table(("a", "change"), ((EVIL, "+1.0 %"), ("b", "−2.0 %"), ("c", "—")), signed=(1,))
    text = html(EVIL, [Section(EVIL, (Text((EVIL,)), table))])
    assert "<script" not in text
    assert 'class="n good"' in text
    assert 'class="n bad"' in text
    assert "<script" not in markdown(EVIL, [Section(EVIL, (Text((EVIL,)), table))])
