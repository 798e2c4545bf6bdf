"""The teacher is frozen, pinned, and says what the model says."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.teacher.frozen import FrozenTeacher, groups_by_length


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def reference(folder: Path, row: list[int]) -> np.ndarray:
    """Log-probabilities by transformers' own loader, one row at a time."""
    model = LlamaForCausalLM.from_pretrained(folder)
    model.eval()  # type: ignore[no-untyped-call]
    ids = torch.tensor([row])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float()
    return -torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").numpy()


def test_digests_are_those_of_the_files(teacher: FrozenTeacher, model_folder: Path) -> None:
    for name, digest in [
        ("model.safetensors", teacher.digest),
        ("tokenizer.json", teacher.tokenizer_digest),
    ]:
        assert hashlib.sha256((model_folder / name).read_bytes()).hexdigest() == digest
    assert teacher.max_length == 96
    model = LlamaForCausalLM.from_pretrained(model_folder)
    assert teacher.num_parameters == model.num_parameters()


def test_the_pinned_digest_is_accepted(model_folder: Path, teacher: FrozenTeacher) -> None:
    assert FrozenTeacher.load(model_folder, pinned_digest=teacher.digest).digest == teacher.digest


def test_one_changed_bit_of_the_weights_is_refused(copied: Path, teacher: FrozenTeacher) -> None:
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RecollectError) as caught:
        FrozenTeacher.load(copied, pinned_digest=teacher.digest)
    assert caught.value.reason is Reason.TEACHER_CHANGED
    assert teacher.digest in str(caught.value)


def test_no_parameter_can_take_a_gradient(teacher: FrozenTeacher) -> None:
    logits = teacher.model(input_ids=torch.tensor([[3, 10, 11]])).logits
    assert not logits.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        logits.sum().backward()
    for parameter in teacher.model.parameters():
        with pytest.raises(RuntimeError, match="inference tensor"):
            parameter.requires_grad_(True)


def test_an_optimizer_step_fails(model_folder: Path) -> None:
    teacher = FrozenTeacher.load(model_folder)
    optimizer = torch.optim.AdamW(teacher.model.parameters(), lr=1.0)
    for parameter in teacher.model.parameters():
        parameter.grad = torch.ones(parameter.shape)
    with pytest.raises(RuntimeError, match=r"[Ii]nference"):
        optimizer.step()


def test_weights_written_in_memory_are_noticed(model_folder: Path) -> None:
    teacher = FrozenTeacher.load(model_folder)
    teacher.ensure_unchanged()
    with torch.inference_mode():
        next(teacher.model.parameters())[0, 0] += 1e-3
    with pytest.raises(RecollectError) as caught:
        teacher.ensure_unchanged()
    assert caught.value.reason is Reason.TEACHER_CHANGED


def test_training_mode_is_refused_for_every_part(teacher: FrozenTeacher) -> None:
    for module in teacher.model.modules():
        assert not module.training
        for attempt in (module.train, module.requires_grad_):
            with pytest.raises(RecollectError, match="frozen"):
                attempt()


def test_tied_embeddings_stay_tied(teacher: FrozenTeacher) -> None:
    model: Any = teacher.model
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_log_probabilities_equal_an_unbatched_forward_pass(
    teacher: FrozenTeacher, model_folder: Path
) -> None:
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, 300, size=n).tolist() for n in (2, 7, 33, 96, 5, 33)]
    for row, values in zip(rows, teacher.log_probabilities(rows, max_tokens=128), strict=True):
        assert values.dtype == np.float32
        assert values.shape == (len(row),)
        assert values[0] == 0
        np.testing.assert_allclose(values[1:], reference(model_folder, row), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 299), max_size=40), max_size=8),
    max_tokens=st.integers(1, 200),
)
def test_grouping_and_padding_do_not_change_values(
    teacher: FrozenTeacher, rows: list[list[int]], max_tokens: int
) -> None:
    alone = [teacher.log_probabilities([row])[0] for row in rows]
    together = teacher.log_probabilities(rows, max_tokens=max_tokens)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@given(lengths=st.lists(st.integers(0, 50), max_size=40), max_tokens=st.integers(1, 200))
def test_groups_hold_every_scorable_row_once_within_the_bound(
    lengths: list[int], max_tokens: int
) -> None:
    groups = list(groups_by_length(lengths, max_tokens))
    seen = sorted(index for group in groups for index in group)
    assert seen == [i for i, n in enumerate(lengths) if n >= 2]
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= max_tokens


def test_a_row_longer_than_the_teacher_is_refused(teacher: FrozenTeacher) -> None:
    with pytest.raises(RecollectError) as caught:
        teacher.log_probabilities([[3] * 97])
    assert caught.value.reason is Reason.INPUT_TOO_LARGE


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (write("pytorch_model.bin", b"x"), "pickle"),
        (write("extra.pkl", b"x"), "pickle"),
        (edit("config.json", auto_map={"AutoModel": "evil.Model"}), "auto_map"),
        (edit("tokenizer_config.json", auto_map={"AutoTokenizer": "evil.T"}), "auto_map"),
        (edit("config.json", trust_remote_code=True), "trust_remote_code"),
        (edit("config.json", quantization_config={"quant_method": "x"}), "quantization_config"),
        (edit("config.json", model_type="gpt2"), "gpt2"),
        (edit("config.json", hidden_size=48), "cannot be built"),
        (write("config.json", b"{"), "JSON"),
        (write("model.safetensors", b"not safetensors"), "cannot be built"),
        (write("tokenizer.json", b"{}"), "cannot be built"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be read"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_an_unusable_folder_is_refused(
    copied: Path, spoil: Callable[[Path], None], word: str
) -> None:
    spoil(copied)
    with pytest.raises(RecollectError) as caught:
        FrozenTeacher.load(copied)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert word in str(caught.value)


def test_the_room_is_cheap_to_import() -> None:
    code = (
        "import sys, recollect.services.teacher, recollect.services.teacher.frozen;"
        "sys.exit(bool({'torch', 'transformers', 'tokenizers', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
