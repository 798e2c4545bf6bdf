"""The register: what is kept of credentials, and when it takes effect."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.access import Authenticator, CredentialRegister, Principal, Scope
from recollect.services.access.credentials import digest_of, id_in, new_id, new_token


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Call:
    """What grpc tells of a call over TLS, without a client certificate."""

    def __init__(self, *metadata: tuple[str, str], peer: str = "ipv4:127.0.0.1:1") -> None:
        self._metadata = metadata
        self._peer = peer

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        return {}

    def peer(self) -> str:
        return self._peer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def register(tmp_path: Path, clock: Clock) -> CredentialRegister:
    return CredentialRegister(tmp_path, clock=clock)


def issue(register: CredentialRegister, *scopes: Scope, days: float = 1.0) -> tuple[str, str]:
    credential, token = register.issue_token(
        holder="alice", tenant="acme", scopes=scopes or (Scope.TRAINER,), days=days, by="root"
    )
    return credential.credential_id, token


def asked(register: CredentialRegister, call: Call, *, insecure: bool = False) -> Principal:
    authenticator = Authenticator(register, owner="owner", insecure=insecure)
    return authenticator.principal(call)  # type: ignore[arg-type]


def refused(register: CredentialRegister, call: Call, *, insecure: bool = False) -> Reason:
    with pytest.raises(RecollectError) as caught:
        asked(register, call, insecure=insecure)
    return caught.value.reason


def bearing(token: str) -> Call:
    return Call(("authorization", f"Bearer {token}"))


def test_the_file_holds_no_token_and_is_for_its_owner_alone(register: CredentialRegister) -> None:
    _, token = issue(register)
    content = register.path.read_text(encoding="utf-8")
    secret = token.split("_", 2)[2]
    assert secret not in content and digest_of(token) in content
    assert stat.S_IMODE(register.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(register.path.parent.stat().st_mode) == 0o700
    assert all(secret not in path.read_text() for path in register.path.parent.iterdir())


def test_tokens_differ_and_have_256_random_bits() -> None:
    tokens = {new_token(new_id()) for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token.split("_", 2)[2]) for token in tokens} == {43}


def test_the_holder_of_a_token_is_the_principal(register: CredentialRegister) -> None:
    credential_id, token = issue(register, Scope.MIXER, Scope.AUDITOR)
    principal = asked(register, bearing(token))
    assert principal == Principal(
        holder="alice",
        tenant="acme",
        scopes=frozenset({Scope.MIXER, Scope.AUDITOR}),
        credential_id=credential_id,
    )


def test_another_process_sees_a_revocation_at_its_next_call(
    tmp_path: Path, register: CredentialRegister, clock: Clock
) -> None:
    serving = CredentialRegister(tmp_path, clock=clock)
    credential_id, token = issue(register)
    principal = asked(serving, bearing(token))
    register.revoke(credential_id, by="root")
    assert refused(serving, bearing(token)) is Reason.CREDENTIAL_REVOKED
    with pytest.raises(RecollectError) as caught:
        Authenticator(serving, owner="owner").confirm(principal)
    assert caught.value.reason is Reason.CREDENTIAL_REVOKED


def test_a_token_ends_at_its_time_and_not_before(
    register: CredentialRegister, clock: Clock
) -> None:
    _, token = issue(register, days=1)
    clock.now += timedelta(days=1) - timedelta(seconds=1)
    principal = asked(register, bearing(token))
    clock.now += timedelta(seconds=1)
    assert refused(register, bearing(token)) is Reason.CREDENTIAL_EXPIRED
    with pytest.raises(RecollectError):
        Authenticator(register, owner="owner").confirm(principal)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_only_the_very_token_is_accepted(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    register = CredentialRegister(tmp_path_factory.mktemp("one"))
    _, token = issue(register)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = token[:at] + letter + token[at + 1 :]
    if changed == token:
        assert asked(register, bearing(changed)).holder == "alice"
    else:
        assert refused(register, bearing(changed)) is Reason.CREDENTIAL_UNKNOWN


@settings(max_examples=200, deadline=None)
@given(header=st.text(max_size=80))
def test_no_other_text_is_a_credential(
    header: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    register = CredentialRegister(tmp_path_factory.mktemp("two"))
    issue(register)
    for insecure in (False, True):
        call = Call(("authorization", header))
        assert refused(register, call, insecure=insecure) is Reason.CREDENTIAL_UNKNOWN


def test_two_tokens_in_one_call_are_none(register: CredentialRegister) -> None:
    _, token = issue(register)
    header = ("authorization", f"Bearer {token}")
    assert refused(register, Call(header, header)) is Reason.CREDENTIAL_UNKNOWN


def test_a_revoked_token_without_its_secret_is_unknown(register: CredentialRegister) -> None:
    credential_id, _ = issue(register)
    register.revoke(credential_id, by="root")
    guess = new_token(credential_id)
    assert id_in(guess) == credential_id
    assert refused(register, bearing(guess)) is Reason.CREDENTIAL_UNKNOWN


def test_the_owner_of_the_socket_may_do_all_but_a_token_there_counts(
    register: CredentialRegister,
) -> None:
    owner = asked(register, Call(peer="unix:"))
    assert (owner.holder, owner.tenant) == ("owner", "default")
    assert owner.scopes == frozenset(Scope)
    _, token = issue(register)
    shown = Call(("authorization", f"Bearer {token}"), peer="unix:")
    assert asked(register, shown).tenant == "acme"
    assert refused(register, Call(("authorization", "Bearer x"), peer="unix:"))


def test_an_insecure_service_answers_anybody_only_until_a_credential_is_issued(
    register: CredentialRegister,
) -> None:
    assert asked(register, Call(), insecure=True).holder == "anonymous"
    assert refused(register, Call()) is Reason.CREDENTIAL_MISSING
    credential_id, _ = issue(register)
    assert refused(register, Call(), insecure=True) is Reason.CREDENTIAL_MISSING
    # Revoking the last one must not open the door again.
    register.revoke(credential_id, by="root")
    assert refused(register, Call(), insecure=True) is Reason.CREDENTIAL_MISSING


@pytest.mark.parametrize("content", ["", "{", '{"version": 1, "credentials": [{}]}', "[]"])
def test_a_damaged_register_refuses_all_and_says_why_to_its_owner_only(
    register: CredentialRegister, content: str
) -> None:
    _, token = issue(register)
    good = register.path.read_text()
    register.path.write_text(content)
    for _ in range(2):
        assert refused(register, bearing(token)) is Reason.INTERNAL
        assert refused(register, Call(), insecure=True) is Reason.INTERNAL
    with pytest.raises(RecollectError) as caught:
        register.all()
    assert caught.value.reason is Reason.STORAGE_CORRUPT
    assert digest_of(token) not in str(caught.value)
    register.path.write_text(good)
    assert asked(register, bearing(token)).holder == "alice"


def test_a_register_of_a_later_version_is_refused(register: CredentialRegister) -> None:
    issue(register)
    later = json.loads(register.path.read_text()) | {"version": 2}
    register.path.write_text(json.dumps(later))
    with pytest.raises(RecollectError) as caught:
        register.all()
    assert caught.value.reason is Reason.VERSION_UNKNOWN


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def one(_: int) -> str:
        return issue(CredentialRegister(tmp_path))[0]

    with ThreadPoolExecutor(8) as pool:
        issued = list(pool.map(one, range(24)))
    kept = [credential.credential_id for credential in CredentialRegister(tmp_path).all()]
    assert sorted(kept) == sorted(issued)


@pytest.mark.parametrize(
    ("holder", "tenant", "scopes", "days"),
    [
        ("", "acme", [Scope.ADMIN], 1),
        ("a\nb", "acme", [Scope.ADMIN], 1),
        ("a" * 129, "acme", [Scope.ADMIN], 1),
        ("alice", "../acme", [Scope.ADMIN], 1),
        ("alice", "Acme", [Scope.ADMIN], 1),
        ("alice", "acme", [], 1),
        ("alice", "acme", [Scope.ADMIN], 0),
        ("alice", "acme", [Scope.ADMIN], float("nan")),
        ("alice", "acme", [Scope.ADMIN], 1e9),
    ],
)
def test_what_cannot_be_issued_is_said_so_and_changes_nothing(
    register: CredentialRegister, holder: str, tenant: str, scopes: list[Scope], days: float
) -> None:
    with pytest.raises(RecollectError) as caught:
        register.issue_token(holder=holder, tenant=tenant, scopes=scopes, days=days, by="root")
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert register.all() == ()


def test_an_unknown_id_cannot_be_revoked(register: CredentialRegister) -> None:
    with pytest.raises(RecollectError) as caught:
        register.revoke("0" * 12, by="root")
    assert caught.value.reason is Reason.CREDENTIAL_UNKNOWN
