"""The sample that ships: enough rows, true offsets, reserved contacts, disjoint sides."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.demo import build_sample, sample
from recollect.services.demo.build_sample import (
    Split,
    breaks_alternation,
    build,
    eight_grams,
    overlaps,
    texts,
    without_contacts,
)
from recollect.services.yaml_text import mix_from_yaml

SAMPLE = files("recollect.services.demo") / "data"
ROWS = {
    "support": (205, 45),
    "abcd": (3, 0),
    "self_instruct": (202, 54),
    "gsm8k": (240, 60),
    "refusals": (107, 27),
    "safe_completions": (74, 18),
    "counterexamples": (73, 18),
}
AUTHORED = {"refusals": 130, "safe_completions": 90, "counterexamples": 90, "pii": 110}
TALKS = ("refusals", "safe_completions", "counterexamples")
BUILT = [
    (side, name)
    for name, counts in ROWS.items()
    for side in ("train", "evaluate")[: 1 + bool(counts[1])]
]

FICTION = re.compile(
    r"\+?1?(202|303|404|512|617|702|808|919)55501\d\d"  # NANP, 555-0100 to 555-0199
    r"|(0|\+44)7700900\d{3}|(0|\+44)2079460\d{3}|(0|\+44)1134960\d{3}"  # Ofcom, for drama
    r"|0199002764|0491570156"  # Arcep, ACMA
)
RESERVED = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
REFUSAL = ("I can't help", "I won't help", "I'm not able to help", "Sorry, I can't")


def read(side: str, name: str) -> list[dict[str, Any]]:
    text = (SAMPLE / side / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def question(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"])


def answer(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"])


def values(entity_type: str) -> Iterator[str]:
    for row in read("authored", "pii"):
        for span in row["spans"]:
            if span["entity_type"] == entity_type:
                yield row["text"][span["start"] : span["end"]]


@pytest.mark.parametrize("name", ROWS)
def test_every_source_has_its_rows_and_the_readme_says_so(name: str) -> None:
    counts = tuple(
        len(read(side, name)) if (SAMPLE / side / f"{name}.jsonl").is_file() else 0
        for side in ("train", "evaluate")
    )
    assert counts == ROWS[name]
    readme = (SAMPLE / "README.md").read_text(encoding="utf-8")
    assert f"| {name}.jsonl | {counts[0]} | {counts[1]} |" in readme


@pytest.mark.parametrize("name", AUTHORED)
def test_enough_rows_are_authored(name: str) -> None:
    assert len(read("authored", name)) >= AUTHORED[name]


def test_the_sample_stays_small() -> None:
    paths = [SAMPLE / side / f"{name}.jsonl" for side, name in BUILT]
    paths += [SAMPLE / "authored" / f"{name}.jsonl" for name in AUTHORED]
    assert sum(len(path.read_bytes()) for path in paths) <= 1_200_000


@pytest.mark.parametrize("name", TALKS)
def test_authored_sides_are_the_authored_rows(name: str) -> None:
    sides = read("train", name) + read("evaluate", name)
    assert sorted(map(question, sides)) == sorted(map(question, read("authored", name)))


def test_no_row_stands_on_both_sides_or_twice() -> None:
    seen = Counter("\n".join(texts(row)) for side, name in BUILT for row in read(side, name))
    assert [text for text, count in seen.items() if count > 1] == []


def shipped() -> dict[str, Split]:
    return {
        name: Split(train=read("train", name), evaluate=read("evaluate", name) if counts[1] else [])
        for name, counts in ROWS.items()
    }


def test_evaluation_hardly_overlaps_with_training() -> None:
    for name, found in overlaps(shipped()).items():
        assert found.num_shared_rows == 0, name
        assert found.share_of_grams < (0.06 if name == "support" else 0.005), name


def test_overlap_counts_what_is_shared() -> None:
    words = "one two three four five six seven eight nine ten"
    shared, fresh = {"text": words}, {"text": words.replace("one", "zero").replace("ten", "end")}
    found = overlaps({"some": Split(train=[shared], evaluate=[shared, fresh, {"text": "short"}])})
    assert found["some"].num_shared_rows == 1
    assert found["some"].share_of_rows == pytest.approx(2 / 3)
    assert found["some"].share_of_grams == pytest.approx(4 / 6)
    assert len(eight_grams(shared)) == 3


@pytest.mark.parametrize("side", ["train", "evaluate"])
def test_support_dialogues_keep_their_mess(side: str) -> None:
    dialogues = read(side, "support")
    roles = {turn["role"] for dialogue in dialogues for turn in dialogue["turns"]}
    assert roles == {"user", "agent", "User", "Agent"}
    broken = sum(map(breaks_alternation, dialogues))
    assert broken >= (6 if side == "train" else 2)
    assert broken < len(dialogues) / 4


@pytest.mark.parametrize(("side", "name"), [*BUILT, *(("authored", name) for name in AUTHORED)])
def test_every_address_of_mail_is_an_example(side: str, name: str) -> None:
    found = [
        domain
        for row in read(side, name)
        for text in texts(row)
        for domain in re.findall(r"(?<=\w@)[A-Za-z][\w.-]*\w", text)
        if not re.fullmatch(r"(?:[\w-]+\.)*example\.(?:com|org|net)", domain)
    ]
    assert found == []


@pytest.mark.parametrize(("side", "name"), [at for at in BUILT if at[1] != "gsm8k"])
def test_every_phone_number_is_reserved(side: str, name: str) -> None:
    found = []
    for row in read(side, name):
        for text in texts(row):
            for match in re.finditer(r"(?<![\w-])[+(]?\d[\d ().-]{7,}\d(?![\w-]*\d)", text):
                shape = re.sub(r"\d+", lambda run: str(len(run.group())), match.group())
                if re.fullmatch(
                    r"10|\(?3\)?[ .-]*3[ .-]4|5[ -]5|\+\d.*", shape
                ) or match.group().startswith("1800"):
                    digits = re.sub(r"[^\d+]", "", match.group())
                    found += [] if FICTION.fullmatch(digits) else [match.group()]
    assert found == []


def test_spans_of_personal_data_are_exact() -> None:
    for row in read("authored", "pii"):
        end = 0
        for span in row["spans"]:
            text = row["text"][span["start"] : span["end"]]
            assert text and text == text.strip(), row["id"]
            assert span["start"] >= end, row["id"]
            end = span["end"]


def test_personal_data_comes_in_every_kind() -> None:
    counts = Counter(
        span["entity_type"] for row in read("authored", "pii") for span in row["spans"]
    )
    assert len(counts) == 14
    assert min(counts.values()) >= 5
    assert sum(not row["spans"] for row in read("authored", "pii")) >= 5


def test_invented_values_are_reserved_ones() -> None:
    assert all(
        re.search(r"@([\w-]+\.)*example\.(com|org|net)$", mail) for mail in values("EMAIL_ADDRESS")
    )
    assert all(
        re.match(r"https://([\w-]+\.)*example\.(com|org|net)/", link) for link in values("URL")
    )
    assert all(FICTION.fullmatch(re.sub(r"[^\d+]", "", phone)) for phone in values("PHONE_NUMBER"))
    assert all(
        any(ip_address(address) in ip_network(network) for network in RESERVED)
        for address in values("IP_ADDRESS")
    )
    assert all(re.fullmatch(r"9\d\d-\d\d-\d{4}|219-09-9999", number) for number in values("US_SSN"))


def test_check_digits_hold() -> None:
    for card in values("CREDIT_CARD"):
        digits = [int(digit) for digit in reversed(re.sub(r"\D", "", card))]
        assert sum(sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(digits)) % 10 == 0
    for iban in values("IBAN_CODE"):
        plain = iban.replace(" ", "")
        assert int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


@pytest.mark.parametrize("name", TALKS)
def test_authored_rows_follow_no_template(name: str) -> None:
    rows = read("authored", name)
    openings = Counter(tuple(question(row).lower().split()[:6]) for row in rows)
    assert [opening for opening, count in openings.items() if count > 1] == []
    assert len({answer(row) for row in rows}) == len(rows)
    words = [re.findall(r"\w+", f"{question(row)} {answer(row)}".lower()) for row in rows]
    trigrams = [t for row in words for t in zip(row, row[1:], row[2:], strict=False)]
    assert len(set(trigrams)) / len(trigrams) > (0.8 if name == "refusals" else 0.93)
    lengths = [len(question(row).split()) for row in rows]
    assert max(lengths) >= 2.5 * min(lengths)


def test_refusals_say_so_and_nothing_else_does() -> None:
    for row in read("authored", "refusals"):
        assert answer(row).startswith(REFUSAL)
        assert 15 <= len(answer(row).split()) <= 45
    for name in ("safe_completions", "counterexamples"):
        for row in read("authored", name):
            assert not any(opening in answer(row) for opening in REFUSAL)
            assert 15 <= len(answer(row).split()) <= 60


def test_authored_talks_are_one_question_and_one_answer() -> None:
    for name in TALKS:
        for row in read("authored", name):
            assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
            assert all(a != b for a, b in pairwise(texts(row)))


@given(st.text(alphabet="0123456789", min_size=10, max_size=10), st.sampled_from(["", "-", " "]))
def test_a_phone_number_becomes_a_reserved_one_of_its_shape(digits: str, gap: str) -> None:
    number = gap.join((digits[:3], digits[3:6], digits[6:]))
    fresh = without_contacts({"text": f"call {number}."})["text"]
    assert FICTION.fullmatch(re.sub(r"\D", "", fresh))
    assert re.sub(r"\d", "0", fresh) == re.sub(r"\d", "0", f"call {number}.")
    assert without_contacts([number, number]) == [fresh[5:-1]] * 2


@pytest.mark.parametrize(
    "text", ["order 502-2345678-9012345 came", "on 2024-01-17 at 10:30", "48,550 points", "12 @ 3"]
)
def test_what_is_no_contact_stays(text: str) -> None:
    assert without_contacts(text) == text


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        build(tmp_path, tmp_path / "sample")
    assert caught.value.reason is Reason.INPUT_NOT_FOUND
    assert "support_dialogues" in caught.value.where
    assert not (tmp_path / "sample").exists()


def test_the_command_ends_with_the_error_and_its_exit_code(tmp_path: Path) -> None:
    command = Typer()
    command.command()(build_sample.main)
    result = CliRunner().invoke(command, ["--data", str(tmp_path), "--into", str(tmp_path)])
    assert result.exit_code == 66
    assert "RECOLLECT_DATA" in result.output


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl")}


@pytest.mark.skipif(
    "RECOLLECT_DATA" not in os.environ,
    reason="RECOLLECT_DATA does not name the folder of public data sets",
)
def test_two_builds_give_the_bytes_that_ship(tmp_path: Path) -> None:
    data = Path(os.environ["RECOLLECT_DATA"])
    build(data, tmp_path / "first")
    build(data, tmp_path / "second")
    first = contents(tmp_path / "first")
    assert first == contents(tmp_path / "second")
    assert first == {
        f"{side}/{name}.jsonl": (SAMPLE / side / f"{name}.jsonl").read_bytes()
        for side, name in BUILT
    }


def licences_of_files() -> dict[str, str]:
    """SPDX identifier of each file, as the table in the sample's README says."""
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    return {row[1]: row[-2].split(",")[0] for row in rows if len(row) > 2 and ".jsonl" in row[1]}


def test_a_source_is_registered_under_the_licences_of_all_its_files() -> None:
    documented = licences_of_files()
    assert set(documented) == {f"{name}.jsonl" for name in ROWS}
    for file in sample.FILES:
        joined = [other.path for other in sample.FILES if other.source == file.source]
        expected = {documented[Path(path).name] for path in joined}
        assert set(file.licence.split(" AND ")) == expected, file.path


def test_files_of_one_source_say_the_same_of_it() -> None:
    said = {
        (file.source, file.role, file.licence, file.legal_basis, file.purpose)
        for file in sample.FILES
    }
    assert len(said) == len({file.source for file in sample.FILES})


@pytest.mark.parametrize("name", ["support", "task_only"])
def test_a_mix_differs_from_another_in_its_seed_alone(name: str) -> None:
    first, second = (mix_from_yaml(sample.mix_text(name, seed=seed)) for seed in (0, 7))
    assert (first.seed, second.seed) == (0, 7)
    assert second.model_copy(update={"seed": 0}) == first


def test_a_mix_whose_seed_cannot_be_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mixes").mkdir()
    (tmp_path / "mixes" / "mine.yaml").write_text("version: 1\nseed: 01\nsources: []\n")
    monkeypatch.setattr(sample, "DATA", tmp_path)
    with pytest.raises(RecollectError) as caught:
        sample.mix_text("mine", seed=3)
    assert caught.value.reason is Reason.MIX_INVALID
