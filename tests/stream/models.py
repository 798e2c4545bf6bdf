"""Model folders whose tokenizers have chat templates of their own, as known families have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [
    "which cable fits my screen? the blue one, of course.",
    "please tell me: where is the parcel that came late?",
    "I will answer in a word, assistant and user alike.\n\nIt is so.\nindeed",
    "system user assistant model start end im INST think header id turn of text begin eot",
]

CHATML = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

SPOKEN = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

HEADERS = """
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{%- if system_message %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
    {{- system_message + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

LINES = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

INSTRUCTIONS = """
{{- bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user/assistant: ' + message['content']) }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported!') }}
    {%- endif %}
{%- endfor %}
"""

TURNS = """
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {{- raise_exception('System role not supported') }}
{%- endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/...') }}
    {%- endif %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}
"""

THINKING = """
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}
            {{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' + (opening or '') }}{%- endif %}
"""

OPENED = THINKING.replace("(opening or '')", "'<think>\\n'").replace(
    "{%- if loop.index0 > ns.last %}", "{%- if false %}"
)
"""Its prompt begins a thought; what it writes of turns that are over has none."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A way that models are trained to talk in."""

    template: str
    special: tuple[str, ...]
    """Special tokens, the first of which is the beginning of a text and the second its end."""
    others: tuple[str, ...] = ()
    """Added tokens that are not special."""
    bytes: bool = True
    """A byte-level BPE; if not, one in the manner of SentencePiece."""
    starts: bool = False
    """Whether the tokenizer begins a text with the first special token."""
    takes_system: bool = True
    end: str = ""
    """What an assistant's turn ends with."""
    more: Mapping[str, Any] = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "chatml": Family(
        template=CHATML,
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        end="<|im_end|>",
    ),
    "spoken": Family(
        template=SPOKEN,
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        end="<|im_end|>",
    ),
    "headers": Family(
        template=HEADERS,
        special=(
            *("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
            *(f"<|reserved_{number}|>" for number in range(20)),
        ),
        starts=True,
        end="<|eot_id|>",
    ),
    "lines": Family(
        template=LINES, special=("<s>", "</s>", "<unk>"), bytes=False, starts=True, end="</s>"
    ),
    "instructions": Family(
        template=INSTRUCTIONS,
        special=("<s>", "</s>", "<unk>", "[INST]", "[/INST]"),
        bytes=False,
        starts=True,
        takes_system=False,
        end="</s>",
    ),
    "turns": Family(
        template=TURNS,
        special=("<bos>", "<eos>", "<unk>"),
        others=("<start_of_turn>", "<end_of_turn>", "\n\n"),
        bytes=False,
        starts=True,
        takes_system=False,
        end="<end_of_turn>",
    ),
    "thinking": Family(
        template=THINKING,
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        others=("<think>", "</think>"),
        end="<|im_end|>",
    ),
    "opened": Family(
        template=OPENED,
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        others=("<think>", "</think>"),
        end="<|im_end|>",
    ),
}


def make_model(folder: Path, family: Family, *, alone: bool = True) -> Path:
    """Writes the tokenizer of a model folder; its template in a file of its own, or not."""
    tokenizer = _bytes() if family.bytes else _pieces(family.special)
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in family.special]
    )
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in family.others])
    if family.starts:
        start = family.special[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    elif family.bytes:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": family.special[0],
        "eos_token": {"__type": "AddedToken", "content": family.special[1], "special": True},
        **family.more,
    }
    if alone:
        (folder / "chat_template.jinja").write_text(family.template)
    else:
        config["chat_template"] = family.template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def _pieces(special: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*special, *(f"<0x{number:02X}>" for number in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    content = json.loads(tokenizer.to_str())
    # Bytes are of the vocabulary only: what reads like one is not one.
    content["added_tokens"] = [
        item for item in content["added_tokens"] if item["content"] in special
    ]
    return Tokenizer.from_str(json.dumps(content))
