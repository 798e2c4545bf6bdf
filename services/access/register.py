"""The register of credentials: one file beside the data, read again whenever it was replaced.

The command line writes it and servers read it. A server looks at the file's inode and time at every
call, so what is revoked is refused from the next call on. A file that cannot be read refuses all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ...mixer.errors import Reason, RecollectError
from ..durable import atomic_file, make_folder, storage
from .credentials import Credential, digest_of, new_id, new_token
from .principal import require_tenant_name
from .scopes import Scope

FOLDER = "access"
FILE = "credentials.json"
MOST_DAYS = 3650
"""Longest life of a credential."""

Clock = Callable[[], datetime]


def now_in_utc() -> datetime:
    """The time; a parameter wherever it matters."""
    return datetime.now(UTC)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    credentials: tuple[Credential, ...] = ()


class CredentialRegister:
    """The credentials of one service, of all its tenants. May be used by several threads."""

    def __init__(self, data_folder: Path, *, clock: Clock = now_in_utc) -> None:
        self.path = data_folder / FOLDER / FILE
        self.clock = clock
        self._lock = Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._generation = 0
        self._by_id: Mapping[str, Credential] = {}
        self._by_identity: Mapping[str, Credential] = {}

    @property
    def generation(self) -> int:
        """Grows whenever the file was replaced; reads it if it was.

        Raises:
            RecollectError: STORAGE_CORRUPT, VERSION_UNKNOWN, STORAGE_FAILED.
        """
        with self._lock:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._take(self._read())
                # Only now: what could not be read is tried again, and refused again, at every call.
                self._stamp = stamp
                self._generation += 1
            return self._generation

    def all(self) -> Sequence[Credential]:
        """Every credential that was ever issued, in that order."""
        _ = self.generation
        return tuple(self._by_id.values())

    def of_id(self, credential_id: str) -> Credential | None:
        """The credential of that id."""
        _ = self.generation
        return self._by_id.get(credential_id)

    def of_identity(self, identity: str) -> Credential | None:
        """The credential that a name in a certificate stands for: the last that was issued."""
        _ = self.generation
        return self._by_identity.get(identity)

    def issue_token(
        self, *, holder: str, tenant: str, scopes: Sequence[Scope], days: float, by: str
    ) -> tuple[Credential, str]:
        """A new token and its entry. The token is kept nowhere: show it now or never."""
        credential_id = new_id()
        token = new_token(credential_id)
        credential = self._new(
            "token", credential_id, digest_of(token), holder, tenant, scopes, days, by
        )
        return self._add(credential), token

    def admit_certificate(
        self,
        identity: str,
        *,
        holder: str,
        tenant: str,
        scopes: Sequence[Scope],
        days: float,
        by: str,
        credential_id: str | None = None,
    ) -> Credential:
        """An entry for certificates that carry a name, such as `URI:spiffe://example/trainer`."""
        return self._add(
            self._new(
                "certificate", credential_id or new_id(), identity, holder, tenant, scopes, days, by
            )
        )

    def revoke(self, credential_id: str, *, by: str) -> Credential:
        """Ends a credential, now and for ever; raises CREDENTIAL_UNKNOWN."""
        with self._writing() as credentials:
            for index, credential in enumerate(credentials):
                if credential.credential_id == credential_id:
                    if credential.revoked_at is None:
                        ended = {"revoked_at": self.clock(), "revoked_by": by}
                        credentials[index] = credential.model_copy(update=ended)
                    return credentials[index]
        raise RecollectError(
            Reason.CREDENTIAL_UNKNOWN,
            f"no credential has the id {credential_id!r:.40}.",
            where="id",
            fix="`recollect access token list` shows the ids.",
        )

    def _new(
        self,
        kind: str,
        credential_id: str,
        proof: str,
        holder: str,
        tenant: str,
        scopes: Sequence[Scope],
        days: float,
        by: str,
    ) -> Credential:
        require_tenant_name(tenant)
        if not 0 < days <= MOST_DAYS:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"a credential cannot be valid for {days:g} days.",
                where="days",
                fix=f"Choose more than 0 and at most {MOST_DAYS}.",
            )
        now = self.clock()
        values = {
            "credential_id": credential_id,
            "kind": kind,
            "holder": holder,
            "tenant": tenant,
            "scopes": tuple(sorted(set(scopes))),
            "proof": proof,
            "issued_at": now,
            "issued_by": by,
            "expires_at": now + timedelta(days=days),
        }
        try:
            return Credential.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{first['msg']}.",
                where=".".join(str(part) for part in first["loc"]),
                fix="A holder and a name have 1 … 128 printable characters; name a scope.",
            ) from None

    def _add(self, credential: Credential) -> Credential:
        with self._writing() as credentials:
            credentials.append(credential)
        return credential

    @contextmanager
    def _writing(self) -> Iterator[list[Credential]]:
        """The credentials, to be changed; what is in the list afterwards is written."""
        with storage(self.path):
            make_folder(self.path.parent)
            os.chmod(self.path.parent, 0o700)
            lock = os.open(
                self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                credentials = list(self._read())
                before = tuple(credentials)
                yield credentials
                if tuple(credentials) != before:
                    self._write(credentials)
            finally:
                os.close(lock)

    def _write(self, credentials: Sequence[Credential]) -> None:
        content = _File(credentials=tuple(credentials)).model_dump_json(indent=1)
        with atomic_file(self.path) as file:
            file.write(content.encode() + b"\n")

    def _read(self) -> Sequence[Credential]:
        with storage(self.path):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return ()
        try:
            return _File.model_validate_json(content).credentials
        except ValidationError as error:
            unknown = any(item["loc"] == ("version",) for item in error.errors())
            # The text of a validation error holds values of the file: say nothing of it.
            raise RecollectError(
                Reason.VERSION_UNKNOWN if unknown else Reason.STORAGE_CORRUPT,
                "the register of credentials cannot be read.",
                where=str(self.path),
                fix="Restore it from a copy; until then every credential is refused.",
            ) from None

    def _take(self, credentials: Sequence[Credential]) -> None:
        self._by_id = {one.credential_id: one for one in credentials}
        self._by_identity = {one.proof: one for one in credentials if one.kind == "certificate"}

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError:
            return (-1, -1, -1)
        return found.st_mtime_ns, found.st_ino, found.st_size
