"""The script that made the shipped teacher.

    python -m recollect.services.teacher.pretrain --data DIR

A small Llama is trained from nothing on permissively licensed text: first passages of novels and
short tasks, then maths, instructions and our own refusals. Two choices matter. Every token counts
in the loss, questions too, because pseudo-rehearsal asks the model to write its own questions. And
rows that share a sequence never see each other: positions restart and attention stays inside a row,
so a row means the same here as it does alone in a batch of a run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .corpus import Document, held_out, read_behaviour, read_language
from .figures import measure
from .modelcard import write_card

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|text|>")
"""Fixed special tokens; the position is the id."""
PAD, END = 0, 1
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that the weights depend on, beside the text."""

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    positions: int = 512
    length: int = 256
    """Tokens per packed sequence."""
    batch: int = 16
    """Sequences per step."""
    learning_rate: float = 4e-3
    warm_up: int = 60
    """Steps until the learning rate is reached; it then falls along a cosine to a twentieth."""
    weight_decay: float = 0.05
    language_steps: int = 600
    """Steps of the first stage: plain language."""
    behaviour_steps: int = 1200
    """Steps of the second stage: maths, instructions, refusals."""
    seed: int = 1
    threads: int = 1

    @property
    def steps(self) -> int:
        """Steps of both stages; the learning rate follows one curve over them."""
        return self.language_steps + self.behaviour_steps


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE whose first ids are the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, document: Document, length: int) -> list[int]:
    """The tokens of a document: speaker, content, end, for each message."""
    ids: list[int] = []
    for speaker, content in document.messages:
        ids.append(SPECIAL_TOKENS.index(f"<|{speaker}|>"))
        ids += [*tokenizer.encode(content, add_special_tokens=False).ids, END]
    return ids[:length]


def pack(rows: Sequence[list[int]], length: int, num_open: int = 64) -> Iterator[list[list[int]]]:
    """Groups rows into sequences of at most `length` tokens, each row whole, best fit first."""
    bins: list[tuple[int, list[list[int]]]] = []
    for row in rows:
        fitting = [i for i, (used, _) in enumerate(bins) if used + len(row) <= length]
        if fitting:
            best = max(fitting, key=lambda i: bins[i][0])
            bins[best] = (bins[best][0] + len(row), [*bins[best][1], row])
            continue
        bins.append((len(row), [row]))
        if len(bins) > num_open:
            yield bins.pop(max(range(len(bins)), key=lambda i: bins[i][0]))[1]
    for _, group in bins:
        yield group


def collate(sequences: Sequence[list[list[int]]], length: int) -> dict[str, torch.Tensor]:
    """One step's tensors; labels are absent (-100) at the start of each row and in padding."""
    shape = (len(sequences), length)
    ids = torch.full(shape, PAD)
    labels = torch.full(shape, -100)
    owner = torch.full(shape, -1)
    positions = torch.zeros(shape, dtype=torch.long)
    for b, rows in enumerate(sequences):
        start = 0
        for number, row in enumerate(rows):
            part = slice(start, start + len(row))
            ids[b, part] = labels[b, part] = torch.tensor(row)
            labels[b, start] = -100
            owner[b, part] = number
            positions[b, part] = torch.arange(len(row))
            start += len(row)
    same = owner[:, None, :, None] == owner[:, None, None, :]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return {
        "input_ids": ids,
        "labels": labels,
        "position_ids": positions,
        "attention_mask": same & causal,
    }


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    progress = (step - recipe.warm_up) / (recipe.steps - recipe.warm_up)
    return recipe.learning_rate * (0.05 + 0.475 * (1 + math.cos(math.pi * progress)))


def new_model(recipe: Recipe) -> LlamaForCausalLM:
    """An untrained model of the recipe's shape."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=SPECIAL_TOKENS.index("<|text|>"),
        eos_token_id=END,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


def optimizer_of(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-8)


def train(
    model: LlamaForCausalLM,
    stage: Sequence[list[list[int]]],
    recipe: Recipe,
    checkpoint: Path,
    span: range,
) -> None:
    """Trains the steps of a span on the sequences of its stage, resuming from the checkpoint."""
    optimizer = optimizer_of(model, recipe)
    first = load_checkpoint(checkpoint, model, optimizer)
    began = time.monotonic()
    model.train()
    for step in range(max(first, span.start), span.stop):
        start = (step - span.start) * recipe.batch
        chosen = [stage[i % len(stage)] for i in range(start, start + recipe.batch)]
        batch = collate(chosen, recipe.length)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0:
            rate = (
                (step - max(first, span.start) + 1)
                * recipe.batch
                * recipe.length
                / (time.monotonic() - began)
            )
            print(f"{step}/{recipe.steps} loss {loss.item():.3f} {rate:,.0f} tokens/s", flush=True)
        if step % 100 == 99:
            save_checkpoint(checkpoint, model, optimizer, step + 1)


def save_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Replaces the checkpoint at once, so that a kill leaves the old one or the new one."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"step": str(step)})
    partial.replace(path)


def load_checkpoint(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    """Loads a checkpoint, if there is one; the step to go on with."""
    if not path.exists():
        return 0
    own = dict(model.named_parameters())
    moments: dict[int, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as held:
        for key in held.keys():  # noqa: SIM118 (safe_open is no mapping)
            kind, name = key.split(".", 1)
            if kind == "model":
                own[name].data.copy_(held.get_tensor(key))
            else:
                index, moment = name.split(".", 1)
                moments.setdefault(int(index), {})[moment] = held.get_tensor(key)
        step = int(held.metadata()["step"])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return step


def save_model(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json."""
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        bos_token="<|text|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out, save_jinja_files=False)
    model.save_pretrained(out)


def sequences_of(
    documents: Sequence[Document], tokenizer: Tokenizer, recipe: Recipe
) -> list[list[list[int]]]:
    """The shuffled, packed sequences of a stage, without the rows that are held out."""
    kept = [d for d in documents if not held_out(d)]
    random.Random(recipe.seed).shuffle(kept)
    rows = [encode(tokenizer, d, recipe.length) for d in kept]
    sequences = list(pack(rows, recipe.length))
    random.Random(recipe.seed + 1).shuffle(sequences)
    print(f"{len(rows):,} rows, {sum(map(len, rows)):,} tokens, {len(sequences):,} sequences")
    return sequences


def main() -> None:
    """Trains both stages, measures, and writes the model folder with its card."""
    arguments = parse_arguments()
    recipe = Recipe(seed=arguments.seed, threads=arguments.threads)
    torch.set_num_threads(recipe.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.work / "checkpoint.safetensors"
    began = time.monotonic()
    language = read_language(arguments.data)
    texts = [content for d in language if not held_out(d) for _, content in d.messages]
    tokenizer = train_tokenizer(texts, recipe.vocabulary)
    model = new_model(recipe)
    stage = sequences_of(language, tokenizer, recipe)
    train(model, stage, recipe, checkpoint, range(recipe.language_steps))
    if arguments.only_language:
        return
    behaviour = read_behaviour(arguments.data, arguments.sample)
    stage = sequences_of(behaviour, tokenizer, recipe)
    train(model, stage, recipe, checkpoint, range(recipe.language_steps, recipe.steps))
    save_model(model, tokenizer, arguments.out)
    figures = measure(model, tokenizer, [*language, *behaviour], arguments.sample, recipe.length)
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    write_card(arguments.out, recipe=asdict(recipe), figures=figures)
    print(json.dumps(figures, indent=1))


def parse_arguments() -> argparse.Namespace:
    """The command line; RECOLLECT_DATA names the data folder where --data does not."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="recollect-pretrain", description=__doc__)
    default = os.environ.get("RECOLLECT_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None)
    parser.add_argument("--sample", type=Path, default=here.parent / "demo" / "data")
    parser.add_argument("--out", type=Path, default=here / "model")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-language", action="store_true", help="stop after the first stage")
    return parser.parse_args()


if __name__ == "__main__":
    main()
