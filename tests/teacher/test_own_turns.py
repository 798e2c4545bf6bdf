"""A teacher whose tokenizer has a chat template of its own writes and scores through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier
from recollect.services.stream import ChatTemplate
from recollect.services.teacher.frozen import FrozenTeacher
from recollect.v1 import teacher_pb2 as wire

from .house import House, annotate, rehearse

if TYPE_CHECKING:
    from stream.models import FAMILIES, make_model
else:
    from ..stream.models import FAMILIES, make_model

LINES = [
    "which cable fits my screen? the blue one",
    "please tell me where the parcel is",
    "it is so and it came late",
    "I will answer in a word of text",
]


def chats() -> list[Sequence[Message]]:
    return [
        [
            Message(speaker=Speaker.USER, content=question),
            Message(speaker=Speaker.ASSISTANT, content=answer),
        ]
        for question in LINES
        for answer in LINES
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was shown a few chats in ChatML, whose turns are several tokens apart."""
    torch.manual_seed(7)
    folder = make_model(tmp_path_factory.mktemp("own"), FAMILIES["chatml"])
    template = ChatTemplate.load(folder)
    config = LlamaConfig(
        vocab_size=template.num_ids,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=160,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    rendered = template.render_batch(chats(), max_length=160)
    rows = [torch.from_numpy(row.input_ids).long() for row in rendered]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        logits = model(input_ids=ids[:, :-1].clamp(min=0)).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def house(folder: Path, tmp_path: Path, deidentifier: Deidentifier) -> Iterator[House]:
    speech = ChatTemplate.load(folder).speech()
    teacher = replace(FrozenTeacher.load(folder), own_turns=speech)
    house = House(tmp_path, folder, teacher, deidentifier)
    yield house
    house.ledger.close()


def test_it_writes_questions_and_answers(house: House) -> None:
    async def work() -> list[wire.RehearseResponse]:
        async with house.serving() as stub:
            return await rehearse(stub, source="dreams", num_examples=6, seed=3)

    assert asyncio.run(work())[-1].num_kept == 6
    said = [message for example in house.examples("dreams") for message in example.messages]
    assert [message.speaker for message in said] == [Speaker.USER, Speaker.ASSISTANT] * 6
    words = {word for line in LINES for word in line.split()}
    learnt = [message for message in said if set(message.content.split()) <= words]
    assert len(learnt) > len(said) / 2
    for message in said:
        assert "<|" not in message.content and message.content == message.content.strip()
        assert not message.content.startswith(("assistant", "user"))


def test_it_scores_what_the_template_renders(house: House) -> None:
    house.fill(5)
    plan = house.sealed("general")

    async def work() -> list[wire.AnnotateResponse]:
        async with house.serving() as stub:
            return await annotate(stub, plan.plan_id)

    steps = asyncio.run(work())
    [cache] = house.caches.of_plan(plan)
    assert steps[-1].num_tokens == cache.totals.num_supervised_tokens > 0


def test_without_tokens_around_turns_it_says_what_is_missing(folder: Path) -> None:
    teacher = FrozenTeacher.load(folder)
    with pytest.raises(RecollectError, match=r"no token <\|end\|>") as caught:
        _ = teacher.turns
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert "chat template" in caught.value.fix
