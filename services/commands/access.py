"""`recollect access`: tokens and certificates, kept beside the data of a service.

These commands work on the files, with or without a service that runs: it notices.
"""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.panel import Panel

from ..access import DEFAULT_TENANT, Credential, CredentialRegister, Scope
from ..access.credentials import new_id
from .terminal import (
    ConfigOption,
    JsonOption,
    SetOption,
    console,
    notes,
    print_json,
    settings_from,
    table,
)

if TYPE_CHECKING:
    from ..access.certificates import DevelopmentCA, Pair

app = typer.Typer(help="Who may ask the service: tokens and certificates.", no_args_is_help=True)
token = typer.Typer(help="Bearer tokens, and the list of all credentials.", no_args_is_help=True)
certificate = typer.Typer(help="Certificates for TLS.", no_args_is_help=True)
app.add_typer(token, name="token")
app.add_typer(certificate, name="certificate")

_COLOURS = {"valid": "green", "expired": "yellow", "revoked": "red"}

ScopesOption = Annotated[
    list[Scope], typer.Option("--scope", help="What the holder may do; may be repeated.")
]
TenantOption = Annotated[str, typer.Option(help="Whose data: the name of a tenant.")]


@token.command("create", epilog="Example: recollect access token create gpu-7 --scope trainer")
def create_token(
    holder: Annotated[str, typer.Argument(help="Who holds it; the ledger records this name.")],
    scopes: ScopesOption,
    tenant: TenantOption = DEFAULT_TENANT,
    days: Annotated[float, typer.Option(help="Days until it expires.")] = 90.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a token and show it, once: only its digest is kept.

    The token alone goes to standard output, so that it can be put into a file that nobody else may
    read: `(umask 077; recollect access token create gpu-7 --scope trainer > token)`.
    """
    register = _register(config, overrides)
    credential, secret = register.issue_token(
        holder=holder, tenant=tenant, scopes=scopes, days=days, by=getpass.getuser()
    )
    if as_json:
        print_json({**_body(credential, register.clock()), "token": secret})
        return
    notes.print(_described(credential), highlight=False)
    notes.print("Shown once. Whoever has it is the holder: give it to nobody else.", style="yellow")
    console.print(secret, highlight=False, soft_wrap=True, markup=False)


@token.command("list", epilog="Example: recollect access token list --json")
def list_credentials(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """List all credentials: tokens and admitted certificates, also those that have ended."""
    register = _register(config, overrides)
    now = register.clock()
    credentials = register.all()
    if as_json:
        print_json([_body(one, now) for one in credentials])
        return
    columns = ("id", "kind", "holder", "tenant", "scopes", "expires", "state")
    shown = table("Credentials", columns, [])
    for one in credentials:
        state = one.state(now)
        cells = (one.credential_id, one.kind, one.holder, one.tenant, ", ".join(one.scopes))
        expires = f"{one.expires_at:%Y-%m-%d}"
        shown.add_row(*map(escape, cells), expires, f"[{_COLOURS[state]}]{state}[/]")
    console.print(shown)


@token.command("revoke", epilog="Example: recollect access token revoke 3f9c2a71b0d4")
def revoke(
    credential_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the credential.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a token or an admitted certificate, for ever.

    Services that run refuse it from the next call on, and send nothing more on streams that are
    open.
    """
    register = _register(config, overrides)
    ended = register.revoke(credential_id, by=getpass.getuser())
    if as_json:
        print_json(_body(ended, register.clock()))
    else:
        notes.print(f"revoked {ended.credential_id}, of {escape(ended.holder)}", highlight=False)


@certificate.command(
    "create", epilog="Example: recollect access certificate create --host recollect.example.com"
)
def create_certificate(
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="Name or address of the service; may be repeated."),
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="Make one for a client, and admit this holder.")
    ] = None,
    scopes: Annotated[
        list[Scope] | None, typer.Option("--scope", help="With --client: what the holder may do.")
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    days: Annotated[float, typer.Option(help="Days until it expires.")] = 90.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a certificate, signed by a development CA that is made with it.

    Without --client for the service: it holds localhost, 127.0.0.1, ::1 and every --host, and takes
    the place of the one before; a service that runs uses it from the next handshake on. The files
    are in DATA/access/tls. A CA of your own does this better: name its files in the configuration.
    """
    from ..access.certificates import DevelopmentCA
    from ..listening import tls_folder

    settings = settings_from(config, overrides)
    authority = DevelopmentCA(tls_folder(settings.data_folder))
    admitted = None
    if client is None:
        pair = authority.server(hosts or (), days=days)
    else:
        register = CredentialRegister(settings.data_folder)
        credential_id = new_id()
        identity = f"recollect:{tenant}:{credential_id}"
        admitted = register.admit_certificate(
            f"URI:{identity}",
            holder=client,
            tenant=tenant,
            scopes=scopes or (),
            days=days,
            by=getpass.getuser(),
            credential_id=credential_id,
        )
        pair = authority.client(credential_id, identity, client, days=days)
    _show_pair(authority, pair, admitted, as_json=as_json)


@certificate.command(
    "admit",
    epilog="Example: recollect access certificate admit URI:spiffe://example.org/trainer "
    "--holder trainer --scope trainer",
)
def admit_certificate(
    identity: Annotated[
        str,
        typer.Argument(
            help="The name in the certificate: URI:…, DNS:…, or CN:… if it has neither."
        ),
    ],
    holder: Annotated[str, typer.Option(help="The name that the ledger records.")],
    scopes: ScopesOption,
    tenant: TenantOption = DEFAULT_TENANT,
    days: Annotated[float, typer.Option(help="Days until the entry expires.")] = 365.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit client certificates that carry a name and are signed by `tls.client_ca`."""
    kind, _, name = identity.partition(":")
    if kind not in ("URI", "DNS", "CN") or not name:
        raise typer.BadParameter("write URI:…, DNS:… or CN:…", param_hint="IDENTITY")
    register = _register(config, overrides)
    admitted = register.admit_certificate(
        f"DNS:{name.lower()}" if kind == "DNS" else identity,
        holder=holder,
        tenant=tenant,
        scopes=scopes,
        days=days,
        by=getpass.getuser(),
    )
    if as_json:
        print_json(_body(admitted, register.clock()))
    else:
        notes.print(_described(admitted), highlight=False)


def _register(config: Path | None, overrides: list[str] | None) -> CredentialRegister:
    return CredentialRegister(settings_from(config, overrides).data_folder)


def _described(credential: Credential) -> Panel:
    lines = (
        ("id", credential.credential_id),
        ("holder", credential.holder),
        ("tenant", credential.tenant),
        ("scopes", ", ".join(credential.scopes)),
        ("expires", f"{credential.expires_at:%Y-%m-%d %H:%M} UTC"),
    )
    text = "\n".join(f"[dim]{name:8}[/dim] {escape(value)}" for name, value in lines)
    return Panel(text, title=f"{credential.kind} issued", title_align="left", expand=False)


def _body(credential: Credential, now: datetime) -> dict[str, object]:
    """What may be shown of a credential: everything but the digest of a token."""
    body: dict[str, object] = credential.model_dump(mode="json", exclude={"proof"})
    if credential.kind == "certificate":
        body["identity"] = credential.proof
    return body | {"state": credential.state(now)}


def _show_pair(
    authority: DevelopmentCA, pair: Pair, admitted: Credential | None, *, as_json: bool
) -> None:
    ca = authority.pair.certificate
    if as_json:
        files = {"certificate": str(pair.certificate), "key": str(pair.key), "ca": str(ca)}
        print_json(files | {"credential_id": admitted.credential_id if admitted else None})
        return
    if admitted is not None:
        notes.print(_described(admitted), highlight=False)
    rows = [("certificate", pair.certificate), ("key", pair.key), ("CA", ca)]
    console.print(table("Files", ("what", "where"), [(what, str(path)) for what, path in rows]))
    told = (
        f"The service admits it where tls.client_ca is {ca}."
        if admitted
        else "Give clients the CA, not the key: --ca (RECOLLECT_CA)."
    )
    console.print(escape(told), highlight=False, soft_wrap=True)
