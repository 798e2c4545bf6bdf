"""Pages of what was measured: whole, escaped, with nothing from outside, for eyes and for ears."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from typer.testing import CliRunner

from recollect.services.cli import app
from recollect.services.deid_page import recall_drawing, residual_page, write_html
from recollect.services.privacy.evaluation import Rate
from recollect.services.privacy.residual import Outcome
from recollect.services.privacy.residual.outcome import Recapture, Stratum
from recollect.services.residual_report import outcome_lines

NAMED = "Rosalind Achterberg"
HOSTILE = '<script src="a.js">'


def assert_self_contained(page: str) -> None:
    assert "<script" not in page and "http" not in page and "url(" not in page
    assert page.count("<h1>") == 1 and '<html lang="en">' in page
    assert page.count("<table") == page.count("<caption>") > 0
    assert "prefers-color-scheme: dark" in page


def test_an_evaluation_is_a_page_of_its_own(tmp_path: Path) -> None:
    text = f"I am {NAMED} of Utrecht."
    spans = [
        {"entity_type": "PERSON", "start": 5, "end": 24},
        {"entity_type": HOSTILE, "start": 28, "end": 35},
    ]
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text(json.dumps({"text": text, "spans": spans}) + "\n")
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["deid", "evaluate", str(labelled), "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert "1 text, " in done.stdout
    html = page.read_text(encoding="utf-8")
    assert_self_contained(html)
    assert NAMED not in html and "&lt;script" in html
    assert re.search(r'<th scope="col" class="number">recall</th>', html)
    assert "were found whole: recall" in html and "95 % confidence" in html


def test_bars_and_intervals_are_where_the_rates_are() -> None:
    rates = {"PERSON": Rate(8, 10), "CODE": Rate(0, 0), HOSTILE: Rate(3, 3)}
    root = ET.fromstring(str(recall_drawing(rates)))
    bars = root.findall("rect")
    assert len(bars) == 2
    whole = float(bars[1].attrib["width"])
    assert float(bars[0].attrib["width"]) == round(0.8 * whole, 2)
    left = float(bars[0].attrib["x"])
    first, *_ = (e for e in root.findall("line") if e.attrib["class"] == "whisker")
    for end, share in (("x1", Rate(8, 10).low), ("x2", Rate(8, 10).high)):
        assert abs(float(first.attrib[end]) - (left + share * whole)) < 0.01
    told = root.find("desc")
    assert told is not None and told.text is not None
    assert "PERSON: 80.0%, 44.4% to 97.5%" in told.text


def test_an_audit_leads_with_the_bound_that_counts_all_doubt(tmp_path: Path) -> None:
    counts = {"num_examples": 448, "num_sampled": 120}
    whole = Stratum(name="all", num_surviving=3, num_undecidable=4, **counts)
    outcome = Outcome(
        snapshot_id="s",
        seed=5,
        detectors=("second",),
        whole=whole,
        sources=(Stratum(name="chats", num_surviving=3, num_undecidable=4, **counts),),
        entity_types=(),
        recapture=Recapture(num_drawn=98, num_found=80, by_type={"PERSON": (80, 98)}),
        num_without_places=0,
    )
    write_html(residual_page("what is left", outcome), outcome_lines(outcome), tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert_self_contained(html)
    assert f"<h1>At most {whole.at_most_with_undecidable:.2%} of the examples" in html
    assert "It found 80 of 98 stand-ins again" in html
