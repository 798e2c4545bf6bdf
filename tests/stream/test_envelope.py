"""Envelopes: what is written around a payload by hand is what protocol buffers would write."""

from __future__ import annotations

from itertools import permutations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from recollect.v1.envelope import (
    ALIGNMENT,
    DamagedMessage,
    Envelope,
    checksum_of,
    enclosed,
    is_whole,
    opened,
    signed,
)
from recollect.v1.stream_pb2 import AckResponse, FetchResponse, StartRunResponse, StepFrame

numbers = st.integers(-(2**63), 2**63 - 1)
steps = st.lists(
    st.builds(
        StepFrame,
        step=numbers,
        num_rows=numbers,
        digest=st.binary(max_size=40),
        source_rows=st.lists(numbers, max_size=3),
        source_tokens=st.lists(numbers, max_size=3),
    ),
    max_size=20,
)
payloads = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))


def told(envelope: Envelope) -> tuple[list[StepFrame], bytes]:
    return list(envelope.steps), bytes(envelope.payload)


@given(steps, payloads)
def test_what_is_enclosed_is_what_the_contract_says_and_is_aligned(
    said: list[StepFrame], payload: bytes
) -> None:
    message = enclosed(said, payload)
    parsed = FetchResponse.FromString(message)
    assert (list(parsed.steps), parsed.payload) == (said, payload)
    assert parsed.checksum == checksum_of(said, payload)
    assert not any(parsed.padding)
    assert (len(message) - len(payload)) % ALIGNMENT == 0
    assert told(opened(message)) == (said, payload)


@given(steps, payloads)
def test_what_others_encode_is_opened_whatever_the_order_of_its_fields(
    said: list[StepFrame], payload: bytes
) -> None:
    checksum = checksum_of(said, payload)
    parts = [
        FetchResponse(steps=said).SerializeToString(),
        FetchResponse(payload=payload).SerializeToString(),
        FetchResponse(checksum=checksum).SerializeToString(),
        # Fields of a later version of the contract: a number, eight bytes, four bytes, some bytes.
        b"\x98\x06\xff\x01" + b"\xa1\x06" + bytes(8) + b"\xad\x06" + bytes(4) + b"\xb2\x06\x01x",
    ]
    for order in permutations(parts):
        assert told(opened(b"".join(order))) == (said, payload)


@given(steps, st.binary(max_size=200), st.data())
def test_a_message_that_changed_is_damaged_or_says_the_same(
    said: list[StepFrame], payload: bytes, data: st.DataObject
) -> None:
    message = enclosed(said, payload)
    place = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[place] ^= data.draw(st.integers(1, 255))
    others = (bytes(changed), message[:place], message[:place] + message[place + 1 :])
    for other in others:
        try:
            found = told(opened(other))
        except DamagedMessage:
            continue
        # Only what is between the parts can have changed, the zeros of the padding.
        assert found == (said, payload)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_damaged(noise: bytes) -> None:
    try:
        found = told(opened(noise))
    except DamagedMessage:
        return
    assert checksum_of(*found) == FetchResponse.FromString(noise).checksum


@pytest.mark.parametrize(
    "message",
    [
        b"\x12\x05abc",  # a payload that is cut off
        b"\x12\x01a\x12\x01b",  # two
        b"\x0b",  # a group
        b"\xff" * 11,  # a number without an end
        b"\x12" + b"\xff" * 9 + b"\x01",  # a payload longer than anything
        b"\x19abc",  # a checksum that is cut off
    ],
)
def test_what_cannot_be_read_is_damaged(message: bytes) -> None:
    with pytest.raises(DamagedMessage):
        opened(message)


def test_the_payload_is_not_copied_where_it_is_aligned() -> None:
    payload = bytes(range(256)) * 8
    assert isinstance(opened(enclosed([StepFrame(step=1)], payload)).payload, memoryview)
    other = FetchResponse(payload=payload, checksum=checksum_of([], payload)).SerializeToString()
    assert isinstance(opened(other).payload, bytes)


@given(numbers, st.binary(max_size=40), st.data())
def test_an_answer_that_changed_is_found_out(length: int, head: bytes, data: st.DataObject) -> None:
    answer = signed(AckResponse(ledger_length=length, ledger_head=head))
    encoded = answer.SerializeToString()
    assert is_whole(AckResponse.FromString(encoded)) and is_whole(None)
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = AckResponse.FromString(bytes(changed))
    except DecodeError:
        return
    # As some field of a later version, or in another way of writing the same number.
    same = (found.ledger_length, found.ledger_head) == (length, head)
    assert not is_whole(found) or same


def test_where_a_run_goes_on_is_signed_as_well() -> None:
    answer = signed(StartRunResponse(first_step=7))
    assert is_whole(answer)
    answer.first_step = 6
    assert not is_whole(answer)
