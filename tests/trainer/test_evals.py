from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.refusal import begins_like_refusal
from recollect.trainer.evals.guardrails import (
    Figures,
    Guardrails,
    compare,
    read_baseline,
    write_baseline,
)
from recollect.trainer.evals.likelihood import mean_losses, pooled
from recollect.trainer.evals.refusals import answers, prompts, refused
from recollect.trainer.tally import SourceTally

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLE = Path(__file__).parents[2] / "services" / "demo" / "data"
SOURCES = ("harmful", "harmless")


@dataclass(frozen=True)
class Rows:
    step: int
    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    sources: torch.Tensor
    tallies: Mapping[str, SourceTally] = field(default_factory=dict)
    packed: bool = False

    @property
    def position_ids(self) -> torch.Tensor:
        return torch.arange(self.input_ids.shape[1]).expand(self.input_ids.shape)


def batch_of(rows: Sequence[tuple[list[int], int]], sources: Sequence[int]) -> Rows:
    """Rows of (tokens, length of the prompt), padded on the right."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, (tokens, prompt) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        mask[i, : len(tokens)] = 1
        labels[i, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    return Rows(0, ids, labels, mask, torch.tensor(sources))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(5)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            # Far from uniform, so that another context gives another answer.
            initializer_range=0.6,
            eos_token_id=1,
            pad_token_id=0,
        )
    )


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<|pad|>": 0, "<|end|>": 1} | {f"w{i}": i for i in range(2, 40)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="w2"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<|pad|>")  # type: ignore[no-untyped-call]


ROWS = [([3, 9, 8, 4, 20, 21], 4), ([3, 9, 4, 30], 3), ([3, 7, 7, 7, 7, 4, 5, 6, 7], 6)]


def test_padding_and_neighbours_do_not_change_a_loss(model: LlamaForCausalLM) -> None:
    together = mean_losses(model, [batch_of(ROWS, [0, 1, 0])], SOURCES)
    alone = mean_losses(
        model, [batch_of([row], [s]) for row, s in zip(ROWS, [0, 1, 0], strict=True)], SOURCES
    )
    for name in SOURCES:
        assert together[name].total == pytest.approx(alone[name].total, rel=1e-4)
        assert together[name].num_tokens == alone[name].num_tokens
    assert (together["harmful"].num_rows, together["harmless"].num_rows) == (2, 1)
    assert together["harmful"].num_tokens == 2 + 3


def test_every_supervised_token_weighs_alike(model: LlamaForCausalLM) -> None:
    losses = mean_losses(model, [batch_of(ROWS, [0, 1, 0])], SOURCES)
    total = sum(loss.total for loss in losses.values())
    assert pooled(losses.values()) == pytest.approx(total / 6)


def test_a_prompt_ends_before_the_first_supervised_token() -> None:
    found = prompts(batch_of(ROWS, [0, 1, 0]))
    assert found == [(0, [3, 9, 8, 4]), (1, [3, 9, 4]), (0, [3, 7, 7, 7, 7, 4])]


def test_an_answer_does_not_depend_on_the_batch_it_is_written_in(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked = [ids[:prompt] for ids, prompt in ROWS]
    together = answers(model, tokenizer, asked, num_tokens=6)
    alone = [answers(model, tokenizer, [ids], num_tokens=6)[0] for ids in asked]
    assert together == alone
    assert len(set(together)) > 1


def test_an_answer_is_the_likeliest_continuation(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    ids = ROWS[0][0][:4]
    expected: list[int] = []
    with torch.inference_mode():
        for _ in range(5):
            logits = model(input_ids=torch.tensor([ids + expected]), use_cache=False).logits
            expected.append(int(logits[0, -1].argmax()))
    words = tokenizer.decode([t for t in expected if t > 1])
    assert answers(model, tokenizer, [ids], num_tokens=5) == [words]


def test_refusals_are_marked_for_each_prompt_of_each_source(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    marks = refused(model, tokenizer, [batch_of(ROWS, [0, 1, 0])], SOURCES)
    # This vocabulary has no word of a refusal.
    assert marks == {"harmful": [False, False], "harmless": [False]}


def rows_of(name: str) -> list[str]:
    lines = (SAMPLE / "authored" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


def test_every_shipped_refusal_begins_like_one() -> None:
    assert [text for text in rows_of("refusals") if not begins_like_refusal(text)] == []


@pytest.mark.parametrize("name", ["safe_completions", "counterexamples"])
def test_no_helpful_answer_begins_like_a_refusal(name: str) -> None:
    assert [text for text in rows_of(name) if begins_like_refusal(text)] == []


def test_a_curved_apostrophe_and_capitals_still_refuse() -> None:
    assert begins_like_refusal("  I CAN\N{RIGHT SINGLE QUOTATION MARK}T help with that.")
    assert not begins_like_refusal("Here is how. I can't promise it works.")


GUARDRAILS = Guardrails(likelihood={"general": "p1"}, refusals={"refusals": "p2"})
FIGURES: Figures = {("nll", "general"): 2.5, ("refusal_rate", "refusals"): 0.75}


def test_a_baseline_is_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "baseline.json"
    assert read_baseline(path, GUARDRAILS, "digest") is None
    write_baseline(path, FIGURES, GUARDRAILS, "digest")
    assert read_baseline(path, GUARDRAILS, "digest") == FIGURES
    assert [p.name for p in path.parent.iterdir()] == ["baseline.json"]


@pytest.mark.parametrize(
    ("guardrails", "digest"),
    [
        (GUARDRAILS, "other"),
        (Guardrails(likelihood={"general": "p3"}, refusals={"refusals": "p2"}), "digest"),
        (Guardrails(likelihood={"general": "p1"}), "digest"),
    ],
)
def test_a_baseline_of_another_model_or_plan_is_refused(
    tmp_path: Path, guardrails: Guardrails, digest: str
) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(path, FIGURES, GUARDRAILS, "digest")
    with pytest.raises(RecollectError) as refusal:
        read_baseline(path, guardrails, digest)
    assert refusal.value.reason is Reason.CONFIG_INVALID


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "figures": 3}'])
def test_a_broken_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(RecollectError):
        read_baseline(path, GUARDRAILS, "digest")


def test_a_measurement_pairs_before_and_after() -> None:
    after: dict[Any, float] = {key: value + 1 for key, value in FIGURES.items()}
    measured = compare(FIGURES, after)
    assert [(m.metric, m.subject, m.before, m.after) for m in measured] == [
        ("nll", "general", 2.5, 3.5),
        ("refusal_rate", "refusals", 0.75, 1.75),
    ]
    assert all(m.change == 1 for m in measured)
