"""Tenants: rooms of their own, opened when asked for, and never more than there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.access import CredentialRegister, Principal, Scope
from recollect.services.access.principal import act_as
from recollect.services.config import Settings
from recollect.services.ledger import Ledger
from recollect.services.rooms import Rooms, Shared
from recollect.services.tenants import Tenants, tenant_folder
from recollect.v1 import store_pb2

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared.load(Settings())


@pytest.fixture
def register(tmp_path: Path) -> CredentialRegister:
    return CredentialRegister(tmp_path)


@pytest.fixture
def tenants(tmp_path: Path, shared: Shared, register: CredentialRegister) -> Iterator[Tenants]:
    yield Tenants(
        tmp_path, register=register, open_rooms=partial(Rooms, shared=shared), most_open=2
    )


def entries(data: Path, tenant: str) -> list[tuple[str, str, Any]]:
    found = Ledger.read(tenant_folder(data, tenant) / "ledger")
    return [(entry.kind, entry.actor, entry.body) for entry in found]


def test_idle_rooms_make_place_and_busy_ones_do_not(tmp_path: Path, tenants: Tenants) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as held:
            await held.enter_async_context(tenants.rooms("default"))
            for name in ("acme", "rival", "acme"):
                async with tenants.rooms(name) as rooms:
                    assert rooms.folder == tmp_path / "tenants" / name
                    assert len(tenants.open_names) == 2
            async with tenants.rooms("rival"):
                with pytest.raises(RecollectError) as caught:
                    await held.enter_async_context(tenants.rooms("acme"))
                assert caught.value.reason is Reason.SERVER_BUSY
            # Many at once open them once.
            await asyncio.gather(
                *(held.enter_async_context(tenants.rooms("acme")) for _ in range(8))
            )
            assert set(tenants.open_names) == {"default", "acme"}
        await tenants.close()
        assert tenants.open_names == ()

    asyncio.run(scenario())


def test_a_call_that_is_cancelled_while_rooms_open_leaves_them_usable(tenants: Tenants) -> None:
    async def enter() -> None:
        async with tenants.rooms("acme"):
            pass

    async def scenario() -> None:
        opening = asyncio.create_task(enter())
        await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await enter()
        await tenants.close()

    asyncio.run(scenario())


def test_every_tenant_has_keys_and_a_ledger_of_its_own(tmp_path: Path, tenants: Tenants) -> None:
    async def scenario() -> None:
        for name in ("default", "acme"):
            async with tenants.rooms(name):
                pass
        await tenants.close()

    asyncio.run(scenario())
    folders = [tenant_folder(tmp_path, name) for name in ("default", "acme")]
    one, other = ((folder / "keys" / "surrogate.key").read_bytes() for folder in folders)
    assert one != other
    assert all((folder / "ledger" / "ledger.jsonl").exists() for folder in folders)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 64])
def test_what_is_no_name_of_a_tenant_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecollectError) as caught:
        tenant_folder(tmp_path, name)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_issuing_and_revoking_are_in_the_tenants_ledger_before_they_count(
    tmp_path: Path, tenants: Tenants, register: CredentialRegister
) -> None:
    issue = partial(register.issue_token, holder="alice", scopes=[Scope.MIXER], days=1, by="root")
    mine, token = issue(tenant="acme")
    issue(tenant="rival")

    async def enter() -> None:
        async with tenants.rooms("acme"):
            pass

    async def scenario() -> None:
        await enter()
        issued = [("credential_issued", "root", mine.credential_id)]
        assert recorded() == issued
        await enter()
        assert recorded() == issued
        register.revoke(mine.credential_id, by="boss")
        await enter()
        ended = [*issued, ("credential_revoked", "boss", mine.credential_id)]
        assert recorded() == ended
        await tenants.close()
        # A service that starts anew finds it there.
        await enter()
        assert recorded() == ended
        await tenants.close()

    def recorded() -> list[tuple[str, str, str]]:
        return [(kind, by, body["credential_id"]) for kind, by, body in entries(tmp_path, "acme")]

    asyncio.run(scenario())
    written = (tenant_folder(tmp_path, "acme") / "ledger" / "ledger.jsonl").read_text()
    assert token not in written and mine.proof not in written


def test_the_ledger_names_the_holder_whatever_the_caller_says(
    tmp_path: Path, tenants: Tenants
) -> None:
    source = store_pb2.Source(
        name="chats",
        role=store_pb2.ROLE_TASK,
        purpose=store_pb2.PURPOSE_TRAIN,
        licence="CC0-1.0",
        legal_basis="consent",
    )

    async def scenario() -> None:
        act_as(Principal(holder="alice", tenant="acme", scopes=frozenset({Scope.MIXER})))
        async with tenants.rooms("acme") as rooms:
            store = rooms.servicers["recollect.v1.StoreService"]
            await store.RegisterSource(store_pb2.RegisterSourceRequest(source=source), None)
        await tenants.close()

    asyncio.run(scenario())
    assert [(kind, actor) for kind, actor, _ in entries(tmp_path, "acme")] == [
        ("source_registered", "alice")
    ]
