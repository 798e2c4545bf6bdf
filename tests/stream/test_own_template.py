"""Tokenizers with chat templates of their own, against transformers in the same process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import models as models_of_tokens
from transformers import PreTrainedTokenizerFast

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.stream import ChatTemplate
from recollect.services.stream.template import Rendered
from recollect.v1.tokenizer import tokenizer_digest

from .models import CHATML, FAMILIES, SPOKEN, Family, make_model


@dataclass(frozen=True)
class Model:
    family: Family
    folder: Path
    ours: ChatTemplate
    theirs: Any

    def render(self, messages: list[Message]) -> Rendered:
        return self.ours.render(messages, max_length=1 << 20)

    def learnt(self, messages: list[Message]) -> str:
        row = self.render(messages)
        return self.text(row.input_ids[row.loss_mask].tolist())

    def text(self, ids: list[int]) -> str:
        return str(self.theirs.decode(ids, clean_up_tokenization_spaces=False))

    def applied(self, messages: list[Message], **options: Any) -> Any:
        said = [{"role": message.speaker.value, "content": message.content} for message in messages]
        return self.theirs.apply_chat_template(said, **options)


def model_of(folder: Path, family: Family) -> Model:
    make_model(folder, family)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    return Model(family, folder, ChatTemplate.load(folder), theirs)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: model_of(folder / name, family) for name, family in FAMILIES.items()}


every_family = pytest.mark.parametrize("name", FAMILIES)


def system(content: str) -> Message:
    return Message(speaker=Speaker.SYSTEM, content=content)


def user(content: str) -> Message:
    return Message(speaker=Speaker.USER, content=content)


def assistant(content: str) -> Message:
    return Message(speaker=Speaker.ASSISTANT, content=content)


def document(content: str) -> Message:
    return Message(speaker=Speaker.TEXT, content=content)


CHAT = [
    user("which cable fits?"),
    assistant("the blue one"),
    user("late parcel é ☃"),
    assistant("indeed 🙂"),
]
TURNS = {
    "instructions": " the blue one</s> indeed 🙂</s>",
    "thinking": "the blue one<|im_end|><think>\n\n</think>\n\nindeed 🙂<|im_end|>",
}
"""What is learnt of the chat, where it is not just the words and what ends them."""


def plain(text: str) -> bool:
    """Whether a text has nothing that is a token of its own anywhere here."""
    added = [text for family in FAMILIES.values() for text in (*family.special, *family.others)]
    return not any(0xFDD0 <= ord(letter) < 0xFDF0 for letter in text) and not any(
        token in text for token in added if not token.isspace()
    )


contents = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text("ab <>|[]/\n\t▁é🙂", min_size=1),
    st.lists(
        st.sampled_from(["<|", "|>", "[INST", "]", "im_end", "<s", ">", "the parcel", "\n", " "])
    ).map("".join),
).filter(lambda text: plain(text) and bool(text.strip()))


@every_family
def test_the_tokens_are_those_of_transformers(models: Mapping[str, Model], name: str) -> None:
    model = models[name]

    @settings(max_examples=60, deadline=None)
    @given(said=st.lists(contents, min_size=1, max_size=5), told=st.none() | contents)
    def law(said: list[str], told: str | None) -> None:
        speakers = (user, assistant)
        messages = [speakers[place % 2](content) for place, content in enumerate(said)]
        if told is not None and model.family.takes_system:
            messages.insert(0, system(told))
        expected = model.applied(messages, return_dict=False)
        assert model.render(messages).input_ids.tolist() == expected

    law()


@every_family
def test_what_the_assistant_says_and_its_end_are_learnt(
    models: Mapping[str, Model], name: str
) -> None:
    model = models[name]
    end = model.family.end
    expected = TURNS.get(name, f"the blue one{end}indeed 🙂{end}")
    assert model.learnt(CHAT) == expected
    assert model.learnt([*CHAT, user("and then?")]) == expected.replace(
        "<think>\n\n</think>\n\n", ""
    )
    assert model.learnt(CHAT[:1]) == ""


@pytest.mark.parametrize("name", ["chatml", "spoken", "headers"])
def test_whatever_is_said_is_learnt_to_the_token(models: Mapping[str, Model], name: str) -> None:
    model = models[name]

    @settings(max_examples=60, deadline=None)
    @given(said=st.lists(contents.map(str.strip).filter(bool), min_size=2, max_size=6))
    def law(said: list[str]) -> None:
        speakers = (user, assistant)
        messages = [speakers[place % 2](content) for place, content in enumerate(said)]
        end = model.family.end
        assert model.learnt(messages) == "".join(content + end for content in said[1::2])

    law()


@every_family
def test_a_prefix_of_what_is_learnt_is_the_generation_prompt(
    models: Mapping[str, Model], name: str
) -> None:
    model = models[name]
    row = model.render(CHAT[:2])
    prompt = model.applied(CHAT[:1], add_generation_prompt=True, return_dict=False)
    first = int(row.loss_mask.argmax())
    if name == "opened":  # Its prompt says more than is written of turns that are over.
        assert model.text(prompt[first:]) == "<think>\n"
        prompt = prompt[:first]
    assert row.input_ids[:first].tolist() == prompt
    rest = row.loss_mask[first:].tolist()
    assert rest == sorted(rest, reverse=True)


@every_family
def test_what_reads_like_a_control_token_stays_text(models: Mapping[str, Model], name: str) -> None:
    model = models[name]
    family = model.family
    ids = set(model.theirs.all_special_ids) | {
        model.theirs.convert_tokens_to_ids(text)
        for text in (*family.special, *family.others)
        if not text.isspace()
    }

    def controls(messages: list[Message]) -> list[int]:
        return [token for token in model.render(messages).input_ids.tolist() if token in ids]

    harmless = controls(CHAT)
    for text in (*family.special, *family.others):
        if text.isspace():
            continue
        for typed in (text, f"  {text} I obey{text}{text}\n", f"a{text[:3]}{text}", text[1:]):
            chat = [user(typed), CHAT[1], user(f"x {typed}"), CHAT[3]]
            assert controls(chat) == harmless
            row = model.render(chat).input_ids.tolist()
            assert typed.strip() in model.text(row)
        if text not in ("<think>", "</think>"):
            chat = [CHAT[0], assistant(f"{text} I say{text}"), CHAT[2], assistant(f"so {text}")]
            assert controls(chat) == harmless
            assert f"so {text}" in model.learnt(chat)
        alone = model.render([document(f"{text} and {text}")]).input_ids.tolist()
        start = [model.theirs.bos_token_id] if family.starts else []
        assert [token for token in alone if token in ids] == start


@every_family
def test_no_words_move_or_make_control_tokens(models: Mapping[str, Model], name: str) -> None:
    model = models[name]
    family = model.family
    texts = [text for text in (*family.special, *family.others) if not text.isspace()]
    ids = {model.theirs.convert_tokens_to_ids(text) for text in texts}
    parts = [piece for text in texts for piece in (text, text[:1], text[1:], text[:-1], text[-2:])]
    # Reasoning is for the assistant to write, and templates act on it.
    own = [text for text in parts if "think" not in text]
    words = st.lists(st.sampled_from([*parts, " ", "\n", "a", "role"]), max_size=6).map("".join)
    answers = st.lists(st.sampled_from([*own, " ", "\n", "a"]), max_size=6).map("".join)

    def controls(messages: list[Message]) -> list[int]:
        return [token for token in model.render(messages).input_ids.tolist() if token in ids]

    harmless = controls(CHAT)

    @settings(max_examples=80, deadline=None)
    @given(first=words, second=words, answer=answers)
    def law(first: str, second: str, answer: str) -> None:
        chat = [user(f"x{first}"), assistant(f"{answer}y"), user(f"{second}z"), assistant("yes")]
        assert controls(chat) == harmless
        assert f"y{family.end}" in model.learnt(chat)

    law()


@pytest.mark.parametrize("kind", ["unigram", "words"])
def test_vocabularies_that_hold_control_tokens_give_them_to_nobody(
    tmp_path: Path, kind: str
) -> None:
    make_model(tmp_path, FAMILIES["lines"])
    texts = ["<unk>", "<s>", "</s>", "<", "/", "s", ">", "▁", "a", "b", "|", "ab", "x</s>y"]
    model: Any = (
        models_of_tokens.Unigram([(text, -1.0) for text in texts], unk_id=0)
        if kind == "unigram"
        else models_of_tokens.WordLevel(
            {text: number for number, text in enumerate(texts)}, unk_token="<unk>"
        )
    )
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    template = ChatTemplate.load(tmp_path)
    for typed in ("</s>", "<s>", "a</s>b", "<unk>"):
        ids = template.render([user(typed), assistant("ab")], max_length=99).input_ids.tolist()
        assert ids.count(texts.index("</s>")) == 2
        assert ids.count(texts.index("<s>")) == 0
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    said = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "ba"}]
    ids = template.render([user("ab"), assistant("ba")], max_length=99).input_ids.tolist()
    assert ids == theirs.apply_chat_template(said, return_dict=False)


def test_the_space_around_words_completes_no_control_token(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|{{ m.content | trim }}|>{{ m.role }}<|im_end|>{% endfor %}"
    model = model_of(tmp_path, replace(FAMILIES["chatml"], template=template))
    for typed in ("im_start", " im_start\n", "im_start|>"):
        row = model.render([user(typed), assistant("yes")]).input_ids.tolist()
        assert model.theirs.convert_tokens_to_ids("<|im_start|>") not in row


def test_what_is_learnt_is_what_the_template_says(models: Mapping[str, Model]) -> None:
    model = models["spoken"]
    found = model.applied(CHAT[:3], return_dict=True, return_assistant_tokens_mask=True)
    row = model.render(CHAT[:3])
    assert row.loss_mask.tolist() == [bool(bit) for bit in found["assistant_masks"]]
    # Theirs ends with the first token of the last character, of which this one has several.
    assert model.learnt([CHAT[0], assistant("🙂")]) == "🙂<|im_end|>"


def test_spans_are_found_in_macros_and_texts_that_are_kept(tmp_path: Path) -> None:
    template = (
        "{% macro said(m) %}{% generation %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% endmacro %}"
        "{% set kept %}{% for m in messages %}<|im_start|>{{ m.role }} "
        "{% if m.role == 'assistant' %}{{ said(m) }}{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}{% endset %}{{ kept }}"
    )
    model = model_of(tmp_path, replace(FAMILIES["chatml"], template=template))
    assert model.learnt(CHAT) == " the blue one<|im_end|> indeed 🙂<|im_end|>"


def test_a_token_across_the_beginning_of_a_span_is_learnt(tmp_path: Path) -> None:
    template = SPOKEN.replace("message.role + '\\n' }}", "message.role + ' ' }}")
    model = model_of(tmp_path, replace(FAMILIES["spoken"], template=template))
    row = model.render([user("where?"), assistant("the parcel")])
    learnt = row.input_ids[row.loss_mask].tolist()
    # The space is the template's, but part of the first token that the assistant has to write.
    assert model.text(learnt) == " the parcel<|im_end|>"
    after = template.replace("+ '<|im_end|>' }}{%- endgen", "}}{%- endgen").replace(
        "{{- '\\n' }}", "{{- 'deed' }}"
    )
    model = model_of(tmp_path, replace(FAMILIES["spoken"], template=after))
    assert model.learnt([user("where?"), assistant("so in")]) == " so ind"


def test_reasoning_is_learnt_where_the_template_keeps_it(models: Mapping[str, Model]) -> None:
    model = models["thinking"]
    chat = [
        CHAT[0],
        assistant("<think>\nit is blue\n</think>\n\nthe blue one"),
        CHAT[2],
        assistant("<think>\nit is late\n</think>\n\nindeed"),
    ]
    expected = "the blue one<|im_end|><think>\nit is late\n</think>\n\nindeed<|im_end|>"
    assert model.learnt(chat) == expected
    assert models["opened"].learnt(chat) == "the blue one<|im_end|>indeed<|im_end|>"
    assert model.render(chat).input_ids.tolist() == model.applied(chat, return_dict=False)


@every_family
def test_a_document_is_encoded_as_the_tokenizer_does(
    models: Mapping[str, Model], name: str
) -> None:
    model = models[name]
    row = model.render([document("the parcel came\n\nlate")])
    assert row.input_ids.tolist() == model.theirs("the parcel came\n\nlate")["input_ids"]
    assert row.loss_mask.tolist() == [
        not (model.family.starts and place == 0) for place in range(len(row.input_ids))
    ]


@every_family
def test_a_batch_renders_as_its_examples_do_and_rows_are_cut(
    models: Mapping[str, Model], name: str
) -> None:
    template = models[name].ours
    examples = [CHAT, CHAT[:2], [document("the parcel")], CHAT[:1]]
    for messages, row in zip(examples, template.render_batch(examples, max_length=9), strict=True):
        whole = template.render(messages, max_length=1000)
        assert row.input_ids.tolist() == whole.input_ids[:9].tolist()
        assert row.loss_mask.tolist() == whole.loss_mask[:9].tolist()
        assert row.num_tokens == whole.num_tokens == len(whole.input_ids)
        assert whole.input_ids.max() < template.num_ids


@pytest.mark.parametrize("name", ["instructions", "turns"])
def test_a_system_message_is_said_by_the_user_where_there_is_none(
    models: Mapping[str, Model], name: str
) -> None:
    merged = [user("be brief\n\nwhich cable fits?"), *CHAT[1:]]
    told = [system("be brief"), *CHAT]
    row = models[name].render(told)
    assert row.input_ids.tolist() == models[name].applied(merged, return_dict=False)


@pytest.mark.parametrize(
    ("name", "messages", "expected"),
    [
        ("turns", [system("secret")], "system message"),
        ("turns", [system("secret"), assistant("yes")], "system message"),
        ("turns", [user("secret"), user("secret")], "(user, user)"),
        ("instructions", [assistant("secret")], "(assistant)"),
        ("chatml", [user("secret"), document("secret")], "plain text"),
    ],
)
def test_what_the_template_refuses_is_refused_without_its_words(
    models: Mapping[str, Model], name: str, messages: list[Message], expected: str
) -> None:
    with pytest.raises(RecollectError) as caught:
        models[name].render(messages)
    assert caught.value.reason is Reason.TEMPLATE_REFUSED
    assert expected in caught.value.message
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "change", ["| upper", "| replace('e', 'E')", "| reverse", "[:2]", "| truncate(5)"]
)
def test_words_that_are_rewritten_are_refused(tmp_path: Path, change: str) -> None:
    template = CHATML.replace("+ message.content +", f"+ (message.content {change}) +")
    asked = "{%- if message.role == 'user' %}{{ message.content }}{%- else %}"
    template = template.replace(
        "    {{- '<|im_start|>' + message.role", asked + "{{- message.role", 1
    )
    template = template.replace("{%- endfor %}", "{% endif %}{%- endfor %}", 1)
    family = replace(FAMILIES["chatml"], template=template)
    make_model(tmp_path, family)
    with pytest.raises(RecollectError) as caught:
        ChatTemplate.load(tmp_path).render(CHAT, max_length=100)
    assert caught.value.reason in (Reason.TEMPLATE_REFUSED, Reason.MODEL_UNUSABLE)


@every_family
def test_truncation_and_padding_of_the_file_are_ignored(name: str, tmp_path: Path) -> None:
    make_model(tmp_path, FAMILIES[name])
    examples = [CHAT, [document("the parcel came late")]]
    before = ChatTemplate.load(tmp_path).render_batch(examples, max_length=200)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    after = ChatTemplate.load(tmp_path).render_batch(examples, max_length=200)
    assert [row.input_ids.tolist() for row in after] == [row.input_ids.tolist() for row in before]


def test_noncharacters_become_replacement_characters(models: Mapping[str, Model]) -> None:
    typed = [user("a\ufdd0b\ufdd1\ufdd3\U000f0000c"), assistant("\ufdd2yes\ufdd1")]
    text = models["chatml"].text(models["chatml"].render(typed).input_ids.tolist())
    assert "a�b��\U000f0000c" in text
    assert models["chatml"].learnt(typed) == "�yes�<|im_end|>"


@every_family
def test_the_digest_covers_all_that_the_tokens_depend_on(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    digest = ChatTemplate.load(make_model(tmp_path / "a", family)).digest
    assert tokenizer_digest(tmp_path / "a") == digest
    assert tokenizer_digest(tmp_path / "a" / "tokenizer.json") == digest
    make_model(tmp_path / "b", family, alone=False)
    assert ChatTemplate.load(tmp_path / "b").digest == digest
    others = [
        replace(family, template=family.template + " "),
        replace(family, more={"bos_token": family.special[1]}),
        replace(family, special=(*family.special, "<|more|>")),
    ]
    digests = [
        tokenizer_digest(make_model(tmp_path / str(number), other))
        for number, other in enumerate(others)
    ]
    assert len({digest, *digests}) == 4


def test_our_markers_go_before_a_template(replica: Any, tmp_path: Path) -> None:
    content = (replica.model / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content)
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert ChatTemplate.load(tmp_path).digest == ChatTemplate.load(replica.model).digest


@pytest.mark.parametrize("named", [True, False])
def test_the_default_of_several_templates_is_taken(tmp_path: Path, named: bool) -> None:
    make_model(tmp_path, FAMILIES["chatml"], alone=False)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    names = {"tool_use": "{{ tools }}", "default" if named else "other": config["chat_template"]}
    config["chat_template"] = [{"name": key, "template": text} for key, text in names.items()]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if named:
        ids = ChatTemplate.load(tmp_path).render(CHAT, max_length=100).input_ids.tolist()
        theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
        said = [{"role": m.speaker.value, "content": m.content} for m in CHAT]
        assert ids == theirs.apply_chat_template(said, return_dict=False)
    else:
        with pytest.raises(RecollectError, match="default") as caught:
            ChatTemplate.load(tmp_path)
        assert caught.value.reason is Reason.MODEL_UNUSABLE


def test_special_tokens_of_an_older_folder_are_found(tmp_path: Path) -> None:
    make_model(tmp_path, FAMILIES["instructions"])
    before = ChatTemplate.load(tmp_path).render(CHAT, max_length=100).input_ids.tolist()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    tokens = {name: config.pop(name) for name in ("bos_token", "eos_token")}
    tokens["eos_token"].pop("__type")
    tokens["additional_special_tokens"] = ["[INST]", {"content": "[/INST]"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(tokens))
    after = ChatTemplate.load(tmp_path).render(CHAT, max_length=100).input_ids.tolist()
    assert after == before


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}", "cannot be compiled"),
        ("{{ messages | random }}", "cannot be compiled"),
        ("{{ lipsum() }}", "cannot be written"),
        ("{{ strftime_now('%Y') }}{{ messages[0].content }}", "cannot be written"),
        ("{{ raise_exception('no') }}", "cannot be written"),
        ("{{ messages.__class__.x }}", "cannot be written"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "cannot be written"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "without what the user"),
        ("{{ messages[0].content }}", "without what the assistant"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "without what the user"),
    ],
)
def test_a_template_that_is_of_no_use_is_refused(
    tmp_path: Path, template: str, expected: str
) -> None:
    make_model(tmp_path, replace(FAMILIES["chatml"], template=template))
    with pytest.raises(RecollectError) as caught:
        ChatTemplate.load(tmp_path)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert expected in caught.value.message
    assert ("fixed date" in caught.value.fix) is ("strftime_now" in template)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "tokenizer_config.json").write_text("{"),
        lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
        lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xff"),
        lambda folder: (folder / "chat_template.jinja").unlink(),
    ],
)
def test_a_folder_without_a_template_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    make_model(tmp_path, FAMILIES["chatml"])
    spoil(tmp_path)
    with pytest.raises(RecollectError) as caught:
        ChatTemplate.load(tmp_path)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    if not (tmp_path / "chat_template.jinja").exists():
        assert "chat_template.jinja" in caught.value.fix


def test_merges_that_spell_a_special_token_are_not_made(tmp_path: Path) -> None:
    make_model(tmp_path, FAMILIES["chatml"])
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary, merges = content["model"]["vocab"], content["model"]["merges"]
    for pair in (["<", "|"], ["<|", "x"], ["<|x", "|"], ["<|x|", ">"], ["<|x|>", "y"]):
        vocabulary["".join(pair)] = len(vocabulary) + 1000
        merges.append(pair)
    content["added_tokens"].append(
        content["added_tokens"][-1] | {"id": vocabulary["<|x|>"], "content": "<|x|>"}
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    number = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|x|>")
    ids = ChatTemplate.load(tmp_path).render([user("<|x|>y"), CHAT[1]], max_length=100).input_ids
    assert number is not None and number not in ids.tolist()


@every_family
def test_the_tokens_around_a_question_are_those_of_its_generation_prompt(
    models: Mapping[str, Model], name: str
) -> None:
    model = models[name]
    speech = model.ours.speech()
    assert speech is not None
    for question in ("which cable fits?", "a\n\nb", "é ☃"):
        prompt = model.applied([user(question)], add_generation_prompt=True, return_dict=False)
        assert speech.prompt(question) == prompt
        assert prompt[: len(speech.opening)] == speech.opening
        rest = [speech.asked, *speech.between]
        assert prompt[-len(rest) :] == rest
        said = model.text(prompt[len(speech.opening) : -len(rest)])
        assert said.strip() == question
    assert model.theirs.convert_ids_to_tokens(speech.answered) == model.family.end
    typed = speech.prompt(f"x{model.family.end}y")
    assert typed.count(speech.answered) == speech.prompt("x y").count(speech.answered)
    assert {speech.asked, speech.answered} <= speech.reserved


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
        "{% if add_generation_prompt %}<|im_start|>{% else %}{% for m in messages %}"
        "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{% endif %}",
    ],
)
def test_turns_without_tokens_around_them_are_for_nobody_to_speak(
    tmp_path: Path, template: str
) -> None:
    make_model(tmp_path, replace(FAMILIES["chatml"], template=template))
    found = ChatTemplate.load(tmp_path)
    assert found.speech() is None
    assert found.render(CHAT, max_length=100).loss_mask.any()
