from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from recollect.mixer.example import Message, Speaker
from recollect.services.stream.template import ChatTemplate
from recollect.services.teacher import pretrain
from recollect.services.teacher.corpus import Document, evaluation_text, held_out
from recollect.services.teacher.frozen import FrozenTeacher
from recollect.services.teacher.pretrain import Recipe

MODEL = Path(pretrain.__file__).parent / "model"
SAMPLE = Path(pretrain.__file__).parents[1] / "demo" / "data"
TINY = Recipe(vocabulary=300, hidden=16, layers=1, heads=2, feed_forward=16, length=24, batch=2)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 24), max_size=60), st.integers(1, 6))
def test_packing_keeps_every_row_whole_and_once(lengths: list[int], num_open: int) -> None:
    rows = [[number] * length for number, length in enumerate(lengths)]
    packed = list(pretrain.pack(rows, 24, num_open))
    assert sorted(row for group in packed for row in group) == sorted(rows)
    assert all(sum(map(len, group)) <= 24 for group in packed)


def test_a_row_is_predicted_alike_alone_and_beside_others() -> None:
    model = pretrain.new_model(TINY)
    rows = [[5, 40, 41, 42, 1], [3, 50, 51, 1, 4, 52, 1], [5, 60, 61, 1]]
    together = pretrain.collate([rows], TINY.length)
    alone = pretrain.collate([[rows[1]]], TINY.length)
    with torch.inference_mode():
        one, other = (
            model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits
            for batch in (together, alone)
        )
    torch.testing.assert_close(one[0, 5:12], other[0, :7], atol=1e-5, rtol=1e-4)
    # The first token of a row is predicted by nothing; neither is padding.
    assert (together["labels"] != -100).sum() == sum(len(row) - 1 for row in rows)


def test_the_corpus_is_rendered_as_the_service_renders() -> None:
    document = Document(
        source="maths", messages=(("user", "How many? 3 <|end|>"), ("assistant", "Four.\n#### 4"))
    )
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    served = ChatTemplate.load(MODEL).render(
        [Message(speaker=Speaker(s), content=c) for s, c in document.messages], max_length=256
    )
    assert pretrain.encode(tokenizer, document, 256) == served.input_ids.tolist()


def test_training_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    stage = [[[5, 20 + i, 30 + i, 40 + i, 1]] for i in range(12)]
    straight, first, second = (pretrain.new_model(TINY) for _ in range(3))
    pretrain.train(straight, stage, TINY, tmp_path / "a", range(104))
    pretrain.train(first, stage, TINY, tmp_path / "b", range(100))
    assert not any(torch.equal(*pair) for pair in _matrices(straight, first))
    pretrain.train(second, stage, TINY, tmp_path / "b", range(104))
    assert all(torch.equal(*pair) for pair in _matrices(straight, second))


def _matrices(one: torch.nn.Module, other: torch.nn.Module) -> list[tuple[torch.Tensor, ...]]:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return [pair for pair in pairs if pair[0].ndim > 1]


def test_the_held_out_rows_do_not_depend_on_their_order() -> None:
    documents = [Document(source="maths", messages=(("user", str(i)),)) for i in range(2000)]
    held = {d for d in documents if held_out(d)}
    assert 5 <= len(held) <= 50
    assert held == {d for d in reversed(documents) if held_out(d)}


def test_evaluation_questions_are_found_in_the_text_that_is_avoided() -> None:
    rows = (SAMPLE / "evaluate" / "gsm8k.jsonl").read_text(encoding="utf-8").splitlines()
    question = json.loads(rows[0])["question"]
    assert " ".join(question.split()).casefold() in evaluation_text(SAMPLE)


def test_the_shipped_model_is_the_one_of_its_card() -> None:
    digest = hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (MODEL / "model.safetensors").stat().st_size <= 7_000_000


@pytest.mark.parametrize(
    ("token", "number"), list(zip(pretrain.SPECIAL_TOKENS, range(6), strict=True))
)
def test_the_shipped_tokenizer_has_the_fixed_special_tokens(token: str, number: int) -> None:
    assert FrozenTeacher.load(MODEL).token_id(token) == number
