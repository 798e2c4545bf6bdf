"""What `recollect doctor` says of access: the way in, permissions of secrets, what expires soon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

from ...mixer.errors import RecollectError
from ..access import CredentialRegister
from ..access.certificates import load_certificate
from ..access.register import now_in_utc
from ..config import Settings
from ..listening import Endpoint, Way, endpoint_of
from .finding import Finding

SOON = timedelta(days=14)
"""What expires within this time is told of."""
_SECRET_FOLDERS = ("access", "keys")


def access(settings: Settings) -> Iterator[Finding]:
    """What was found about who may ask the service."""
    try:
        endpoint = endpoint_of(settings)
    except RecollectError as error:
        yield Finding(subject="address", state="broken", detail=str(error))
    else:
        yield _way(endpoint)
        yield from _certificates(endpoint)
    yield from _permissions(settings.data_folder)
    yield from _credentials(settings.data_folder)


def _way(endpoint: Endpoint) -> Finding:
    detail = f"{endpoint.way} at {endpoint.address}"
    if endpoint.way is Way.INSECURE:
        detail += ": whoever sees the network sees all"
        return Finding(subject="address", state="broken", detail=detail, required=False)
    return Finding(subject="address", state="ok", detail=detail)


def _certificates(endpoint: Endpoint) -> Iterator[Finding]:
    certificate = endpoint.pair.certificate if endpoint.pair else None
    files = {"certificate": certificate, "client CA": endpoint.client_ca}
    for subject, path in files.items():
        if path is None:
            continue
        try:
            expires = load_certificate(path).not_valid_after_utc
        except RecollectError as error:
            yield Finding(subject=subject, state="broken", detail=str(error))
            continue
        now = now_in_utc()
        detail = f"valid until {expires:%Y-%m-%d}, {path}"
        good = expires > now + SOON
        required = expires <= now
        yield Finding(
            subject=subject, state="ok" if good else "broken", detail=detail, required=required
        )


def _permissions(data_folder: Path) -> Iterator[Finding]:
    open_to_others = [
        str(path)
        for folder in (data_folder / name for name in _SECRET_FOLDERS)
        if folder.is_dir()
        for path in (folder, *folder.rglob("*.key"), *folder.glob("*.json"))
        if path.stat().st_mode & 0o077
    ]
    if open_to_others:
        detail = f"others may open {', '.join(open_to_others)}: chmod go= them"
        yield Finding(subject="permissions", state="broken", detail=detail, required=False)


def _credentials(data_folder: Path) -> Iterator[Finding]:
    register = CredentialRegister(data_folder)
    try:
        credentials = register.all()
    except RecollectError as error:
        yield Finding(subject="credentials", state="broken", detail=str(error))
        return
    now = now_in_utc()
    valid = [one for one in credentials if one.state(now) == "valid"]
    soon = [one.holder for one in valid if one.expires_at < now + SOON]
    detail = f"{len(valid)} valid of {len(credentials)}"
    if soon:
        detail += f"; of {', '.join(soon)} about to expire"
    state: Literal["ok", "broken"] = "broken" if soon else "ok"
    yield Finding(subject="credentials", state=state, detail=detail, required=False)
