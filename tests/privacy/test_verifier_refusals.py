"""What a verifier refuses, and what it refuses to pass on; and the commands that use one."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.cli import app
from recollect.services.deid_rows import RowDeidentifier, RowOptions
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import ENTITY_TYPES, Policy
from recollect.services.privacy.verifier import Verifier, VerifierOptions
from recollect.services.privacy.verifier.classifier import TokenClassifier
from recollect.services.privacy.verifier.folder import weights_digest

from . import tiny_classifier as tiny

KEY = bytes(range(32))
LATE = "the zajoness was late again"


def load(model: Path, **values: Any) -> Verifier:
    return Verifier.load(VerifierOptions(model=str(model), **values), ENTITY_TYPES)


def policy(model: Path, **values: Any) -> Policy:
    verifier = {"model": str(model), **values}
    return Policy.from_mapping({"name": "mine", "entities": "all", "verifier": verifier})


def test_labels_of_the_policy_take_the_place_of_the_default_ones(
    model: Path, tmp_path: Path
) -> None:
    given = {"id2label": {"0": "O", "1": "B-THING", "2": "I-THING"}}
    folder = tiny.copied(
        model, tmp_path / "things", label2id={"O": 0, "B-THING": 1, "I-THING": 2}, **given
    )
    with pytest.raises(RecollectError) as caught:
        load(folder)
    assert caught.value.reason is Reason.POLICY_INVALID
    assert "B-THING, I-THING" in caught.value.message
    found = load(folder, labels={"THING": "ORGANIZATION"}).find([LATE])[0]
    assert [f.entity_type for f in found] == ["ORGANIZATION"]
    assert load(model, threshold=1.0).find([LATE]) == [[]]


def broken(model: Path, folder: Path, kind: str) -> Path:
    """A copy of the model of which something does not hold."""
    tiny.copied(model, folder)
    weights = folder / "model.safetensors"
    if kind == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif kind == "pickled":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "half":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "untrained":
        kept = {n: t for n, t in load_file(weights).items() if not n.startswith("classifier")}
        save_file(kept, weights, {"format": "pt"})
    elif kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif kind == "code":
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModelForTokenClassification": "modeling.Model"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modeling.py").write_text("raise SystemExit")
    elif kind == "no JSON":
        (folder / "config.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("empty", "no config.json"),
        ("pickled", "pickled"),
        ("no weights", "no model.safetensors"),
        ("half", "no token classifier that can be loaded"),
        ("untrained", "never trained"),
        ("no tokenizer", "tokenizer"),
        ("code", "auto_map"),
        ("no JSON", "cannot be read"),
    ],
)
def test_a_folder_that_holds_no_such_model_is_refused(
    model: Path, tmp_path: Path, kind: str, told: str
) -> None:
    folder = broken(model, tmp_path / "broken", kind)
    with pytest.raises(RecollectError) as caught:
        load(folder)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert told in caught.value.message
    assert (caught.value.where or "").startswith(str(folder))
    # The whole cascade refuses, before it reads anything.
    with pytest.raises(RecollectError) as whole:
        Deidentifier(policy(folder), KEY).prove()
    assert whole.value.reason is Reason.MODEL_UNUSABLE


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        load(tmp_path / "nowhere")
    assert caught.value.reason is Reason.MODEL_UNUSABLE


def test_weights_other_than_the_pinned_ones_are_refused(model: Path, tmp_path: Path) -> None:
    folder = tiny.copied(model, tmp_path / "pinned")
    digest = weights_digest(folder)
    assert len(load(folder, digest=digest).find([LATE])[0]) == 1
    with pytest.raises(RecollectError) as caught:
        load(folder, digest="0" * 64)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert digest in caught.value.message


def test_what_is_no_number_is_a_refusal_not_nothing_found(model: Path, tmp_path: Path) -> None:
    folder = tiny.copied(model, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][1] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecollectError) as caught:
        Deidentifier(policy(folder), KEY).prove()
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "verifier" in caught.value.message
    with pytest.raises(RecollectError) as refused:
        Deidentifier(policy(folder, only_uncertain=False), KEY).find(LATE)
    assert refused.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "zajoness" not in str(refused.value)


def missed_word() -> str:
    """A word that the classifier knows and that the cascade alone leaves where it stands."""
    chance = random.Random(17)
    cascade = Deidentifier(Policy.from_mapping({"entities": "all"}), KEY)
    words = (tiny.code_word(chance).lower() for _ in range(100))
    return next(word for word in words if not cascade.find(f"the {word} was late again"))


def half_deaf(model: Path, folder: Path) -> Path:
    """A copy that answers nothing that is a number where a text has a question mark."""
    tiny.copied(model, folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][vocabulary["?"]] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_apply_replaces_what_the_model_of_a_policy_file_finds(
    model: Path, tmp_path: Path, workers: int
) -> None:
    word = missed_word()
    folder = half_deaf(model, tmp_path / "model")
    texts = [f"the {word} was late again", f"was the {word} late?", "it was late"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": n, "text": t}) + "\n" for n, t in enumerate(texts)))
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nversion: '1'\nentities: all\noperators: {'*': tag}\n"
        f"verifier:\n  model: {folder}\n  labels: {{PER: ORGANIZATION}}\n  only_uncertain: false\n"
    )
    target = tmp_path / "out.jsonl"
    arguments = ["deid", "apply", str(source), str(target), "--policy", str(file), "--spans"]
    result = CliRunner().invoke(app, [*arguments, "--workers", str(workers), "--json"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in rows] == ["the [ORGANIZATION] was late again", "it was late"]
    assert [span["stage"] for span in rows[0]["spans"]] == ["verifier"]
    (lost,) = (json.loads(x) for x in Path(f"{target}.quarantine.jsonl").read_text().splitlines())
    assert (lost["row"], lost["reason"]) == (2, "DEIDENTIFICATION_FAILED")
    assert word not in json.dumps(lost) + result.output


def test_rows_of_a_file_are_read_together_with_the_answers_that_each_gets_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = TokenClassifier.read

    def noted(self: TokenClassifier, texts: Sequence[str]) -> Any:
        read.append(len(texts))
        return plain(self, texts)

    folder = half_deaf(model, tmp_path / "model")
    chance = random.Random(23)
    texts = [" ".join(word for word, _ in tiny.sentence(chance)) for _ in range(20)]
    texts.append(next(text for text in texts if "?" not in text))
    lines = [json.dumps({"text": text}).encode() for text in texts]
    lines[3:3] = [b"{", b'{"text": 7}']
    chosen = RowOptions(policy=policy(folder, only_uncertain=False), key=KEY, spans=True)
    rows = RowDeidentifier(chosen)
    monkeypatch.setattr(TokenClassifier, "read", noted)
    alone = [rows(line) for line in lines]
    assert len(read) == 21
    # One text is refused: with it, none of its group is read ahead, and the others lose nothing.
    refused = [new is None for new, _ in alone]
    assert sum(refused) == 2 + sum("?" in text for text in texts)
    assert rows.answers(lines) == alone
    good = [line for line, lost in zip(lines, refused, strict=True) if not lost]
    read.clear()
    assert rows.answers(good) == [answer for answer in alone if answer[0] is not None]
    # A text that stands twice is read again: it was asked for, and forgotten.
    assert read == [len(good)] + [1] * (len(good) - len(set(good)))


@pytest.mark.slow
def test_evaluate_tells_what_the_verifier_brings(model: Path, tmp_path: Path) -> None:
    word = missed_word()
    text = f"the {word} was late again"
    span = {"entity_type": "PERSON", "start": 4, "end": 4 + len(word)}
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text(json.dumps({"text": text, "spans": [span]}) + "\n")
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nentities: all\nverifier: {{model: '{model}', only_uncertain: false}}\n"
    )
    arguments = ["deid", "evaluate", str(labelled), "--policy", str(file), "--stages"]
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert report["recall"]["value"] == 1.0
    recall = {stage: m["recall"]["value"] for stage, m in report["without"].items()}
    assert recall["verifier"] == 0.0
    assert recall["tagger"] == recall["pattern"] == 1.0
    shown = CliRunner().invoke(app, arguments)
    assert "without verifier" in shown.stdout
    plain = CliRunner().invoke(app, ["deid", "evaluate", str(labelled), "--stages", "--json"])
    assert "verifier" not in json.loads(plain.stdout)["without"]


def test_apply_refuses_a_model_that_is_not_there_before_it_reads_anything(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "it was late"}\n')
    file = tmp_path / "mine.yaml"
    file.write_text("entities: all\nverifier: {model: ./nowhere}\n")
    target = tmp_path / "out.jsonl"
    arguments = ["deid", "apply", str(tmp_path / "in.jsonl"), str(target), "--policy", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, RecollectError)
    assert result.exception.reason is Reason.MODEL_UNUSABLE
    assert not target.exists()


@pytest.fixture
def asking(model: Path, tmp_path: Path) -> Path:
    """A folder that says it is GLiNER's."""
    folder = tiny.copied(model, tmp_path / "gliner")
    encoder = json.loads((folder / "config.json").read_text())
    (folder / "gliner_config.json").write_text(json.dumps({"encoder_config": encoder}))
    return folder


def test_without_gliner_its_models_are_refused_in_words(
    asking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gliner", None)
    with pytest.raises(RecollectError) as caught:
        load(asking)
    assert caught.value.reason is Reason.PACKAGE_MISSING
    assert "gliner" in caught.value.message
    assert "pip install" in (caught.value.fix or "")


def test_without_transformers_a_classifier_is_refused_in_words(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.copied(model, tmp_path / "copy")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RecollectError) as caught:
        load(folder)
    assert caught.value.reason is Reason.PACKAGE_MISSING
    assert "recollect[server]" in (caught.value.fix or "")


def test_questions_to_gliner_must_ask_for_what_is_replaced(asking: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        Verifier.load(VerifierOptions(model=str(asking)), frozenset({"UUID"}))
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where == "policy.verifier.labels"
