"""A really tiny Llama with a real byte-level BPE tokenizer, saved as safetensors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.teacher.frozen import FrozenTeacher

from .house import House

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|text|>"]
LINES = [
    "how do I change the address of an order that was paid yesterday",
    "you can change the address on the page of the order until it leaves the house",
    "what is the sum of three and four and why is it seven",
    "the sum is seven because three and four more steps on the line end at seven",
    "write a short note to thank a friend who helped you move",
]


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was shown a few chats, so that what it writes has turns that end."""
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("teacher")
    tokenizer = train_tokenizer()
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=5,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    teach(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return folder


def teach(model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    chats = [
        f"<|user|>{question}<|end|><|assistant|>{answer}<|end|>"
        for question in LINES
        for answer in LINES
    ]
    rows = [torch.tensor(tokenizer.encode(chat).ids) for chat in chats]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.fixture(scope="session")
def teacher(model_folder: Path) -> FrozenTeacher:
    return FrozenTeacher.load(model_folder)


@pytest.fixture(scope="session")
def deidentifier() -> Deidentifier:
    return Deidentifier(Policy(), b"k" * 32)


@pytest.fixture
def house(
    tmp_path: Path, model_folder: Path, teacher: FrozenTeacher, deidentifier: Deidentifier
) -> Iterator[House]:
    house = House(tmp_path / "data", model_folder, teacher, deidentifier)
    yield house
    house.ledger.close()
