"""Malformed requests to every method of a real service; `make faults` sends a million."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from .fleet import Server, make_place, wait_for
from .malformed import METHODS, Asked, Maker, ask, requests

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[grpc.Channel, str]]:
    folder = tmp_path_factory.mktemp("m")
    plan_id = make_place(folder)
    server = Server(folder / "data", f"unix:{folder}/s", folder / "server")
    wait_for("serving", lambda: server.serves)
    with grpc.insecure_channel(server.address) as opened:
        yield opened, plan_id
    assert server.serves
    server.kill()


def test_every_method_answers_with_a_type(channel: tuple[grpc.Channel, str]) -> None:
    opened, plan_id = channel
    reasons: Counter[str] = Counter()
    asked_of: Counter[str] = Counter()
    for asked in requests(1, 1500, known=(plan_id, "task")):
        reasons[ask(opened, asked)] += 1
        asked_of[asked.path] += 1
    assert len(asked_of) == len(METHODS)
    # Wild, but not so wild that nothing gets past the first look.
    assert {"OK", "INPUT_MALFORMED", "PLAN_UNKNOWN", "MIX_INVALID"} <= reasons.keys()


@settings(max_examples=300, deadline=None)
@given(method=st.sampled_from(METHODS), messages=st.lists(st.binary(max_size=200), max_size=3))
def test_bytes_that_mean_nothing_are_answered_with_a_type(
    channel: tuple[grpc.Channel, str], method: MethodDescriptor, messages: list[bytes]
) -> None:
    sent = tuple(messages) if method.client_streaming else (b"".join(messages),)
    ask(channel[0], Asked(method, sent))


@settings(max_examples=300, deadline=None)
@given(dice=st.randoms(use_true_random=False))
def test_wild_values_are_answered_with_a_type(
    channel: tuple[grpc.Channel, str], dice: random.Random
) -> None:
    opened, plan_id = channel
    ask(opened, Maker(dice, known=(plan_id, "task")).one())
