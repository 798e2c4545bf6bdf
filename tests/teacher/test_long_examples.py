"""Examples that are longer than the teacher's context: named before anything is scored."""

import asyncio
import re

import grpc
import numpy as np
import pytest

from recollect.mixer.plan import Plan
from recollect.services.teacher.annotate import require_fitting

from .house import House, annotate, details

PACKED = {"packing": "best_fit"}
WEIGHED = {"unit": "tokens"}


def refused(house: House, plan: Plan) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """How annotating a plan is refused."""

    async def work() -> tuple[grpc.StatusCode, str, dict[str, str]]:
        async with house.serving() as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await annotate(stub, plan.plan_id)
            info = details(caught.value)
            return caught.value.code(), info.reason, dict(info.metadata)

    return asyncio.run(work())


@pytest.mark.parametrize("changes", [PACKED, WEIGHED], ids=["packed", "weighed"])
def test_an_example_that_is_too_long_is_named_with_a_remedy_that_works(
    house: House, changes: dict[str, str]
) -> None:
    house.fill(12, long=(5, 9))
    plan = house.sealed("general", **changes)
    length = house.caches.of_plan(plan)[0].lengths[5]
    status, reason, told = refused(house, plan)
    assert (status, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INPUT_TOO_LARGE")
    assert told["where"] == "source general, example 5"
    assert told["message"] == (
        f"it has {length} tokens; the teacher takes 96, and 1 more are too long."
    )
    # Rows of the mix are short enough already: this is not what helps.
    assert plan.mix.max_length < house.teacher.max_length
    remedy = dict(re.findall(r"(packing|unit|max_length): (\w+)", told["fix"]))
    advised = house.sealed("general", **{**remedy, "max_length": int(remedy["max_length"])})

    async def follow() -> int:
        async with house.serving() as stub:
            return int((await annotate(stub, advised.plan_id))[-1].num_examples)

    assert asyncio.run(follow()) == 12
    assert [entry["plan_id"] for entry in house.entries("annotated")] == [advised.plan_id]


def test_nothing_is_annotated_of_a_plan_with_an_example_that_is_too_long(house: House) -> None:
    house.fill(6, long=(5,))
    refused(house, house.sealed("general", **PACKED))
    assert not list(house.tokens.glob("*.annotations.arrow"))
    assert not house.entries("annotated")


def test_a_plan_of_longer_rows_than_the_teacher_takes_is_to_have_shorter_ones(
    house: House,
) -> None:
    house.fill(6, long=(2,))
    plan = house.sealed("general", max_length=200)
    _, reason, told = refused(house, plan)
    assert (reason, told["where"]) == ("INPUT_TOO_LARGE", "source general, example 2")
    assert "packing" not in told["fix"]
    (most,) = map(int, re.findall(r"max_length: (\d+)", told["fix"]))
    shorter = house.sealed("general", max_length=most)
    caches = house.caches.of_plan(shorter)
    assert require_fitting(shorter, caches, max_length=house.teacher.max_length) == caches


def test_annotation_builds_a_damaged_cache_again(house: House) -> None:
    house.fill(12)
    plan = house.sealed("general")
    (cache,) = house.caches.of_plan(plan)
    path = house.caches.path(cache.key)
    good = path.read_bytes()
    damaged = bytearray(good)
    # In the first row: where its tokens lie, and nothing of the file's own marks.
    at = good.index(cache.gather(np.arange(1))[0][0].tobytes())
    damaged[at] ^= 0x40
    path.write_bytes(damaged)
    house.reopen()

    async def work() -> int:
        async with house.serving() as stub:
            return int((await annotate(stub, plan.plan_id))[-1].num_examples)

    assert asyncio.run(work()) == 12
    assert path.read_bytes() == good
