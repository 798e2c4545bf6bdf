"""The page says what the record says, all of it honestly, and nothing that is not in it."""

import hashlib
import json
import re
import statistics
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.demo.outcome import (
    outcome,
)
from recollect.services.demo.record import (
    MIX,
    NLL,
    TASK_ONLY,
    Step,
    record_from_json,
    record_to_json,
)
from recollect.services.demo.report import number, render, signed, write_page, write_report
from recollect.services.demo.summary import summary

from .records import BAD, DIFFERENT, GOOD, record, run


class Page(HTMLParser):
    """What a reader of the page meets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._in_style = self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_style:
            return
        self.texts.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == name)


def numbers(cell: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"[−-]?\d+\.\d+", cell)]


def test_a_missed_bar_is_shown_as_missed() -> None:
    result = outcome(BAD)
    assert result.forgetting_ratio == pytest.approx(0.55)
    assert not result.passes
    page = Page(render(BAD))
    assert page.text.count("✗ not met") == 2
    assert "✓ met" not in page.text
    assert "did not meet either bar" in page.text
    assert "met both bars" not in page.text
    with (console := Console(width=120)).capture() as captured:
        console.print(summary(BAD))
    assert captured.get().count("NOT MET") == 2


def test_met_bars_are_shown_as_met() -> None:
    page = Page(render(GOOD))
    assert page.text.count("✓ met") == 2
    assert "✗" not in page.text


def test_one_missed_bar_is_named() -> None:
    forgetful = replace(
        GOOD, runs=(*GOOD.runs[:2], run(MIX, 0, gained=1.1, forgot=(0.9, 0.9, 0.9)))
    )
    assert "did not meet the bar for forgetting" in Page(render(forgetful)).text
    slow = replace(GOOD, runs=(*GOOD.runs[:2], run(MIX, 0, gained=0.2, forgot=(0, 0, 0))))
    assert "did not meet the bar for gain" in Page(render(slow)).text


def test_nothing_forgotten_is_said_and_not_divided_by() -> None:
    runs = [run(arm, 0, gained=1, forgot=(-0.1, 0, -0.2)) for arm in (TASK_ONLY, MIX)]
    result = outcome(record(*runs))
    assert result.forgetting_ratio is None
    assert not result.passes
    assert "forgot nothing" in result.finding
    assert result.finding in Page(render(record(*runs))).text.replace(" %", "\xa0%")


def test_every_value_of_the_outcome_table_is_in_the_record() -> None:
    page = Page(render(GOOD))
    for name, subject, sign in [
        ("Gain on the target", "target", -1),
        ("Forgetting: general", "general", 1),
        ("Forgetting: maths", "maths", 1),
        ("Forgetting: refusal", "refusal", 1),
    ]:
        for arm, cell in zip((TASK_ONLY, MIX), page.row(name)[1:], strict=True):
            values = [
                sign * (m.after - m.before)
                for r in GOOD.runs
                if r.arm == arm
                for m in r.measurements
                if (m.metric, m.subject) == (NLL, subject)
            ]
            expected = [statistics.fmean(values), statistics.stdev(values), *values]
            assert numbers(cell) == pytest.approx(expected, abs=5.01e-4)


def test_counts_of_the_record_stand_on_the_page() -> None:
    page = Page(render(GOOD))
    assert page.row("support") == ["support", "task", "66.67\xa0%", "62.50\xa0%", "10", "0.33"]
    assert ["support", "1,234", "1,200", "30", "4", "5"] in page.rows
    assert page.row("PERSON") == ["PERSON", "77"]
    assert page.row("refusals") == ["refusals", "task only", "90\xa0%", "25\xa0%"]
    assert page.row("run_started") == ["run_started", "4"]
    for said in ("1,500,001", "c" * 64, "d" * 64, "I am Ada Example.", "I am Eve Sample.", "never"):
        assert said in page.text


def test_a_broken_ledger_is_not_called_whole() -> None:
    broken = replace(GOOD, ledger=replace(GOOD.ledger, verified=False))
    assert "could not be verified" in Page(render(broken)).text
    assert "chain of digests is whole" not in Page(render(broken)).text


def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing() -> None:
    source = render(GOOD)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", source, re.IGNORECASE)
    for tag, attributes in Page(source).tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        for name in attributes:
            assert name not in {"src", "href", "srcset", "action"} and not name.startswith("on")


def test_the_page_can_be_read_without_seeing_it() -> None:
    page = Page(render(GOOD))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 5
    ids = {attributes.get("id") for _, attributes in page.tags}
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 6
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= ids
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities))


HOSTILE = '"><script>alert(1)</script><img src=x onerror=y>&[bold]'


def test_hostile_names_and_texts_are_escaped_everywhere() -> None:
    text = record_to_json(GOOD).replace('"support"', json.dumps(HOSTILE))
    text = text.replace("I am Ada Example.", "</p><script>x</script>")
    text = text.replace('"PERSON"', json.dumps(HOSTILE)).replace('"too_short"', json.dumps(HOSTILE))
    hostile = record_from_json(text)
    page = Page(render(hostile))
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert "img" not in names
    assert page.text.count(HOSTILE) >= 4
    with (console := Console(width=200)).capture() as captured:
        console.print(summary(hostile))
    assert "[bold]" in captured.get()


def test_the_page_and_its_record_lie_side_by_side(tmp_path: Path) -> None:
    page = write_report(GOOD, tmp_path / "report")
    beside = (page.parent / "record.json").read_bytes()
    assert record_from_json(beside.decode()) == GOOD
    assert hashlib.sha256(beside).hexdigest() in page.read_text(encoding="utf-8")


def test_a_record_with_hardly_anything_still_renders() -> None:
    bare = replace(GOOD, runs=(), shares=(), ingested=(), preview=())
    assert "forgot nothing" in Page(render(bare)).text
    one = replace(GOOD, runs=(replace(GOOD.runs[0], measurements=(), steps=()),))
    assert "not measured" in Page(render(one)).text


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None)
@given(
    losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6),
    gained=st.floats(-1e6, 1e6),
    forgot=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
)
def test_no_figure_holds_nan_or_infinity(
    losses: list[float], gained: float, forgot: tuple[float, float, float]
) -> None:
    steps = tuple(
        Step(step=i, loss=v, loss_by_source={"support": v}, counts={"support": 1})
        for i, v in enumerate(losses)
    )
    runs = [
        replace(run(arm, 0, gained=gained, forgot=forgot), steps=steps) for arm in (TASK_ONLY, MIX)
    ]
    assert not re.search(r"\b(nan|inf|infinity)\b", render(record(*runs)), re.IGNORECASE)


@given(value=finite, digits=st.integers(0, 4))
def test_numbers_read_back_and_have_no_negative_zero(value: float, digits: int) -> None:
    text = number(value, digits).replace("−", "-").replace(",", "")
    assert float(text) == pytest.approx(value, abs=0.5000001 * 10**-digits, rel=1e-9)
    assert not (float(text) == 0 and "-" in text)
    assert signed(value, digits).startswith("+") == (value > 0 and float(text) != 0)


def test_what_the_audit_found_is_on_the_page_and_in_the_terminal() -> None:
    page = Page(render(DIFFERENT)).text
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary(DIFFERENT))
    terminal = capture.get()
    for difference in DIFFERENT.ledger.audit_differences:
        assert difference in page
        assert difference in terminal
    assert "no difference" not in page
    assert "no difference from its plan" in Page(render(GOOD)).text


def test_a_page_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        write_page(GOOD, tmp_path)
    assert caught.value.reason is Reason.CONFIG_INVALID
