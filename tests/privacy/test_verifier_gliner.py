"""GLiNER models, by the real package: run where it is installed; it is no dependency."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy.policy import ENTITY_TYPES
from recollect.services.privacy.verifier import Verifier, VerifierOptions

from . import tiny_classifier as tiny

gliner = pytest.importorskip("gliner")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MAX_WORDS = 40
TEXT = "it was late and we asked for zajoness at the desk. " * 30


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GLiNER with random weights, which takes nearly any words for nearly anything."""
    import torch
    from transformers import BertConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    encoder = tmp_path_factory.mktemp("gliner") / "encoder"
    tokenizer = tiny.make_tokenizer()
    tokenizer.no_truncation()
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=128,
    ).save_pretrained(encoder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    described = {
        "model_name": str(encoder),
        "encoder_config": config.to_dict(),
        "hidden_size": 32,
        "max_width": 4,
        "max_len": MAX_WORDS,
        "num_rnn_layers": 0,
        "span_mode": "markerV0",
    }
    model = gliner.GLiNER.from_config(described, backbone_from_pretrained=False)
    folder = encoder.parent / "model"
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def load(folder: Path, threshold: float = 0.001) -> Verifier:
    options = VerifierOptions(model=str(folder), labels={"person": "PERSON"}, threshold=threshold)
    return Verifier.load(options, ENTITY_TYPES)


def test_texts_longer_than_the_model_holds_are_read_to_their_end(asked: Path) -> None:
    verifier = load(asked)
    verifier.prove()
    (found,) = verifier.find([TEXT])
    covered = {place for f in found for place in range(f.start, f.end)}
    assert {place for place, c in enumerate(TEXT) if c.isalnum()} <= covered
    assert {(f.entity_type, f.stage) for f in found} == {("PERSON", "verifier")}
    # gliner alone cuts the text, and says so in a warning that nobody need see.
    with pytest.warns(UserWarning, match="truncated"):
        alone = gliner.GLiNER.from_pretrained(asked).inference([TEXT], ["person"], threshold=0.001)
    assert max(one["end"] for one in alone[0]) < len(TEXT) / 3
    assert verifier.find(["", "it"]) == [[], verifier.find(["it"])[0]]


def test_weights_that_lack_something_are_refused(asked: Path, tmp_path: Path) -> None:
    folder = tiny.copied_folder(asked, tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    del weights["prompt_rep_layer.0.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecollectError) as caught:
        load(folder)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert "prompt_rep_layer.0.bias" in caught.value.message


def test_what_is_no_number_is_no_answer(asked: Path, tmp_path: Path) -> None:
    folder = tiny.copied_folder(asked, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["prompt_rep_layer.0.bias"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(FloatingPointError):
        load(folder).find(["it was late"])
