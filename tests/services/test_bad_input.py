"""Bad input through the whole chain: one clear error, its exit code, and no half state."""

import json
from pathlib import Path

import pytest

from recollect.mixer.example import Purpose, Role
from recollect.services.client import ServiceClient
from recollect.services.config import SHIPPED_MODEL
from recollect.services.ingestion import register

from .conftest import Run

pytestmark = pytest.mark.slow

LATE = ("malformed", "encoding", "speaker")
GOOD = '{"messages":[{"role":"user","content":"Hi %d"},{"role":"assistant","content":"Hello %d"}]}'
MIX = """\
version: 1
name: bad
unit: examples
batch_size: 4
num_steps: 2
max_length: 64
seed: 0
sources:
"""


def _good(num_rows: int) -> str:
    return "\n".join(GOOD % (n, n) for n in range(num_rows)) + "\n"


def _num_examples(recollect: Run, source: str) -> int | None:
    listed = json.loads(recollect("sources", "list", "--json").stdout)
    found = [row["num_examples"] for row in listed if row["source"] == source]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "content", "reason", "code", "place"),
    [
        ("malformed", (_good(40) + '{"messages": [}\n').encode(), "INPUT_MALFORMED", 65, ":41:"),
        ("encoding", _good(2).encode() + b'{"text": "\xff"}\n', "INPUT_ENCODING", 65, ":3"),
        ("empty", b"", "INPUT_EMPTY", 65, "empty.jsonl"),
        (
            "speaker",
            (_good(1) + '{"messages":[{"role":"wizard","content":"x"}]}\n').encode(),
            "INPUT_UNKNOWN_SPEAKER",
            65,
            ":2",
        ),
        ("columns", b'{"colour": "red"}\n', "INPUT_UNKNOWN_FORMAT", 65, ":1"),
    ],
)
def test_a_bad_file_stores_nothing_and_names_the_place(
    recollect: Run, tmp_path: Path, name: str, content: bytes, reason: str, code: int, place: str
) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(content)
    result = recollect("ingest", path, "--source", f"bad_{name}", "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], result.returncode) == (reason, code)
    assert place in error["where"]
    assert error["fix"]
    # A row that is bad after good ones is met when the source is there, but nothing is in it.
    assert _num_examples(recollect, f"bad_{name}") == (0 if name in LATE else None)


def test_bad_rows_can_be_skipped_and_are_counted(recollect: Run, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(_good(3) + "{nonsense\n" + _good(5), encoding="utf-8")
    result = recollect("ingest", path, "--source", "skipped", "--skip-bad-rows", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0
    # Rows 0, 1 and 2 come twice.
    assert (report["num_read"], report["num_stored"], report["num_duplicates"]) == (8, 5, 3)
    assert any("INPUT_MALFORMED: 1" in line for line in report["intake"])


def test_a_missing_file_has_its_own_code(recollect: Run, tmp_path: Path) -> None:
    result = recollect("ingest", tmp_path / "none.jsonl", "--source", "none")
    assert result.returncode == 66
    assert "none.jsonl" in result.stderr


@pytest.mark.parametrize(
    ("sources", "reason", "words"),
    [
        ("  - {source: known, role: task, share: 60%}\n", "MIX_SHARES", "3/5"),
        ("  - {source: unknown, role: task, share: 1}\n", "MIX_UNKNOWN_SOURCE", "unknown"),
        ("  - {source: empty, role: task, share: 1}\n", "MIX_EMPTY_SOURCE", "empty"),
        ("  - {source: known, role: general, share: 1}\n", "MIX_INVALID", "role"),
        ("  - {source: held_out, role: task, share: 1}\n", "MIX_PURPOSE", "held_out"),
        ("  - {source: known, role: task, share: much}\n", "MIX_INVALID", "sources[0].share"),
        (
            "  - {source: known, role: task, share: 1, on_exhaustion: error}\n",
            "MIX_EXHAUSTED",
            "runs out",
        ),
    ],
)
def test_a_bad_mix_seals_nothing_and_says_why(
    recollect: Run,
    client: ServiceClient,
    tmp_path: Path,
    sources: str,
    reason: str,
    words: str,
) -> None:
    known = tmp_path / "known.jsonl"
    known.write_text(_good(3), encoding="utf-8")
    assert recollect("ingest", known, "--source", "known").returncode == 0
    held_out = recollect("ingest", known, "--source", "held_out", "--purpose", "evaluate")
    assert held_out.returncode == 0
    register(
        client,
        name="empty",
        role=Role.TASK,
        purpose=Purpose.TRAIN,
        licence="MIT",
        legal_basis="public",
    )

    mix = tmp_path / "mix.yaml"
    mix.write_text(MIX + sources, encoding="utf-8")
    before = _num_sealed(recollect)
    for command in ("check", "preview", "seal"):
        result = recollect("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], result.returncode) == (reason, 65)
        assert words in " ".join(error.values())
    assert _num_sealed(recollect) == before


def _refused_everywhere(recollect: Run, mix: Path, *, where: str) -> str:
    """The message with which checking, previewing and sealing refuse a mix."""
    messages: set[str] = set()
    for command in ("check", "preview", "seal"):
        result = recollect("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], error["where"]) == ("MIX_INVALID", f"{mix}: {where}")
        assert result.returncode == 65
        assert "max_length" in error["fix"]
        messages.add(error["message"])
    (message,) = messages
    return message


def _num_sealed(recollect: Run) -> int:
    return len(recollect("audit", "log", "--kind", "plan_sealed", "--json").stdout.splitlines())


def test_a_source_that_teaches_nothing_is_refused(recollect: Run, tmp_path: Path) -> None:
    long_questions = tmp_path / "long.jsonl"
    question = "Where is my parcel, please? " * 30
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{n} {question}"},
                {"role": "assistant", "content": "It is on its way."},
            ]
        }
        for n in range(3)
    ]
    long_questions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    short = tmp_path / "short.jsonl"
    short.write_text(_good(3), encoding="utf-8")
    assert recollect("ingest", short, "--source", "teaches").returncode == 0
    assert recollect("ingest", long_questions, "--source", "teaches_nothing").returncode == 0
    mix = tmp_path / "mix.yaml"
    text = MIX + (
        "  - {source: teaches, role: task, share: 1/2}\n"
        "  - {source: teaches_nothing, role: task, share: 1/2}\n"
    )
    mix.write_text(text, encoding="utf-8")
    before = _num_sealed(recollect)
    message = _refused_everywhere(recollect, mix, where="sources[1]")
    assert "no row of teaches_nothing has a token to learn: 3 of 3 were cut" in message
    assert _num_sealed(recollect) == before
    # The same rows teach once their answers fit.
    mix.write_text(text.replace("max_length: 64", "max_length: 512"), encoding="utf-8")
    assert recollect("mix", "seal", mix).returncode == 0


def test_rows_longer_than_the_model_takes_are_refused(recollect: Run, tmp_path: Path) -> None:
    known = tmp_path / "known.jsonl"
    known.write_text(_good(3), encoding="utf-8")
    assert recollect("ingest", known, "--source", "short_enough").returncode == 0
    mix = tmp_path / "mix.yaml"
    text = MIX + "  - {source: short_enough, role: task, share: 1}\n"
    longest = json.loads((SHIPPED_MODEL / "config.json").read_text())["max_position_embeddings"]
    mix.write_text(text.replace("max_length: 64", f"max_length: {longest + 1}"), encoding="utf-8")
    before = _num_sealed(recollect)
    message = _refused_everywhere(recollect, mix, where="max_length")
    assert f"rows of {longest + 1:,} tokens are longer than the model's {longest:,}" in message
    assert _num_sealed(recollect) == before
    mix.write_text(text.replace("max_length: 64", f"max_length: {longest}"), encoding="utf-8")
    assert recollect("mix", "seal", mix).returncode == 0


def test_a_source_without_examples_may_still_change(recollect: Run, tmp_path: Path) -> None:
    path = tmp_path / "late.jsonl"
    path.write_text(_good(2) + "{nonsense\n", encoding="utf-8")
    assert recollect("ingest", path, "--source", "typo", "--role", "general").returncode == 65
    path.write_text(_good(2), encoding="utf-8")
    assert recollect("ingest", path, "--source", "typo", "--role", "task").returncode == 0


def test_a_source_keeps_its_properties(recollect: Run, chats: Path) -> None:
    assert recollect("ingest", chats, "--source", "fixed", "--role", "task").returncode == 0
    result = recollect("ingest", chats, "--source", "fixed", "--role", "general", "--json")
    assert result.returncode == 65
    assert json.loads(result.stderr)["error"]["reason"] == "SOURCE_CONFLICT"


def test_a_plan_that_was_never_sealed_is_unknown(recollect: Run) -> None:
    result = recollect("teacher", "annotate", "0" * 64, "--json")
    assert result.returncode == 66
    assert json.loads(result.stderr)["error"]["reason"] == "PLAN_UNKNOWN"
