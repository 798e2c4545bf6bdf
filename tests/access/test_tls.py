"""TLS: who trusts whom, what is said where they do not, and certificates that change under way."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.access import CredentialRegister, Scope
from recollect.services.access.certificates import DevelopmentCA, Pair
from recollect.services.access.credentials import new_id
from recollect.services.access.tls import ServerCertificates
from recollect.services.client import connect, error_from
from recollect.services.listening import tls_folder
from recollect.trainer import client as trainer_client
from recollect.trainer.client import Patience
from recollect.trainer.loader import ReplayLoader
from recollect.v1 import mix_pb2, store_pb2, stream_pb2
from recollect.v1.connection import Credentials, host_and_port, open_channel, why_unreachable
from recollect.v1.mix_pb2_grpc import MixServiceStub
from recollect.v1.stream_pb2_grpc import StreamServiceStub

from .conftest import MIX, NUM_STEPS, Server, Site

pytestmark = pytest.mark.slow

NUM_ROTATIONS = int(os.environ.get("ROTATIONS", "5"))
"""Rotations of the short form; ROTATIONS=100 is the long one."""
LIST = store_pb2.ListSourcesRequest()


def listed(address: str, credentials: Credentials) -> int:
    with connect(address, credentials) as client:
        return len(client.store.ListSources(LIST, timeout=60).sources)


def refused(address: str, credentials: Credentials) -> set[Reason]:
    """Why neither the command line nor a trainer gets through; at once, not after an outage."""
    reasons = set()
    began = time.monotonic()
    with pytest.raises(RecollectError) as caught:
        listed(address, credentials)
    reasons.add(caught.value.reason)
    trainer = trainer_client.connect(address, credentials=credentials)
    with pytest.raises(RecollectError) as caught:
        trainer.plan("00" * 32)
    trainer.close()
    reasons.add(caught.value.reason)
    assert time.monotonic() - began < Patience().outage_s / 2
    return reasons


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentCA:
    return DevelopmentCA(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that wants client certificates."""
    data = tmp_path_factory.mktemp("mutual") / "data"
    authority = DevelopmentCA(tls_folder(data))
    authority.server(["service.example"], days=30)
    ca = authority.pair.certificate
    with Server(data, "address=127.0.0.1:0", f"tls.client_ca={ca}") as server:
        assert server.told["way"] == "mutual_tls"
        yield Site(server=server, register=CredentialRegister(data), ca=ca)


def client_pair(site: Site, *, admitted: bool = True) -> tuple[str, Credentials]:
    credential_id = new_id()
    identity = f"recollect:acme:{credential_id}"
    if admitted:
        site.register.admit_certificate(
            f"URI:{identity}",
            holder="trainer-7",
            tenant="acme",
            scopes=[Scope.MIXER],
            days=1,
            by="pytest",
            credential_id=credential_id,
        )
    authority = DevelopmentCA(tls_folder(site.server.data))
    return credential_id, shown(site.ca, authority.client(credential_id, identity, "t", days=1))


def shown(ca: Path, pair: Pair) -> Credentials:
    return Credentials(ca=ca, certificate=pair.certificate, key=pair.key)


def test_a_plain_client_of_a_tls_service_is_told_so(site: Site) -> None:
    plain = Credentials(plaintext=True, token=site.token(Scope.ADMIN))
    assert refused(site.address, plain) == {Reason.TLS_MISMATCH}


def test_a_tls_client_of_a_plain_service_is_told_so(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "address=127.0.0.1:0", "insecure=true") as server:
        assert server.told["way"] == "insecure"
        assert "INSECURE" in server.log.read_text()
        assert refused(server.address, Credentials()) == {Reason.TLS_MISMATCH}
        assert listed(server.address, Credentials(plaintext=True)) == 0
        register = CredentialRegister(server.data)
        _, token = register.issue_token(
            holder="a", tenant="default", scopes=[Scope.MIXER], days=1, by="pytest"
        )
        anybody = Credentials(plaintext=True)
        assert refused(server.address, anybody) == {Reason.CREDENTIAL_MISSING}
        assert listed(server.address, Credentials(plaintext=True, token=token)) == 0


def test_a_service_that_another_ca_vouches_for_is_not_trusted(
    site: Site, elsewhere: DevelopmentCA
) -> None:
    token = site.token(Scope.ADMIN)
    other = Credentials(ca=elsewhere.pair.certificate, token=token)
    assert refused(site.address, other) == {Reason.CERTIFICATE_REFUSED}
    assert refused(site.address, Credentials(token=token)) == {Reason.CERTIFICATE_REFUSED}
    assert listed(site.address, site.credentials(token)) >= 1


@pytest.mark.parametrize("held", ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nMIIB\n"])
def test_a_ca_file_without_a_certificate_is_named_before_any_call(
    tmp_path: Path, held: str
) -> None:
    ca = tmp_path / "ca.pem"
    # Nobody listens there, and nobody is asked.
    nowhere = "127.0.0.1:1"
    for path in (ca, tmp_path / "none.pem", tmp_path):
        ca.write_text(held, encoding="utf-8")
        began = time.monotonic()
        with pytest.raises(RecollectError) as caught, connect(nowhere, Credentials(ca=path)):
            pass
        assert (caught.value.reason, caught.value.where) == (Reason.CONFIG_INVALID, str(path))
        trainer = trainer_client.connect(nowhere, credentials=Credentials(ca=path))
        with pytest.raises(RecollectError) as caught:
            trainer.plan("00" * 32)
        trainer.close()
        assert (caught.value.reason, caught.value.where) == (Reason.CONFIG_INVALID, str(path))
        assert time.monotonic() - began < 5


def test_a_certificate_counts_for_its_names_alone(site: Site) -> None:
    _, port = host_and_port(site.address)
    credentials = site.credentials(site.token(Scope.ADMIN))
    assert listed(f"localhost:{port}", credentials) >= 1
    # All of 127.0.0.0/8 is this machine, but the service listens on one address of it, so another
    # name has to be shown: a certificate for it alone.
    problem = why_unreachable(f"127.1:{port}", credentials)
    assert problem is not None and problem.reason == Reason.CERTIFICATE_REFUSED.name


def test_a_client_certificate_is_a_credential(mutual: Site) -> None:
    credential_id, credentials = client_pair(mutual)
    assert listed(mutual.address, credentials) == 0
    mutual.register.revoke(credential_id, by="pytest")
    assert refused(mutual.address, credentials) == {Reason.CREDENTIAL_REVOKED}


def test_a_client_certificate_that_nobody_admitted_is_unknown(mutual: Site) -> None:
    _, credentials = client_pair(mutual, admitted=False)
    assert refused(mutual.address, credentials) == {Reason.CREDENTIAL_UNKNOWN}


def test_a_client_without_a_certificate_or_with_anothers_is_refused(
    mutual: Site, elsewhere: DevelopmentCA
) -> None:
    credential_id, _ = client_pair(mutual)
    identity = f"recollect:acme:{credential_id}"
    forged = elsewhere.client("forged", identity, "trainer-7", days=1)
    assert refused(mutual.address, shown(mutual.ca, forged)) == {Reason.CERTIFICATE_REFUSED}
    with_token = mutual.credentials(mutual.token(Scope.ADMIN))
    assert refused(mutual.address, with_token) == {Reason.CERTIFICATE_REFUSED}


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def _presented(address: str) -> x509.Certificate:
    pem = ssl.get_server_certificate(host_and_port(address))
    return x509.load_pem_x509_certificate(pem.encode())


@pytest.fixture
def trusted(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of CAs that a trainer trusts; the service has its first certificate again after."""
    trusted = tmp_path / "trusted.pem"
    shutil.copyfile(site.ca, trusted)
    token = tmp_path / "token"
    token.write_text(site.token(Scope.TRAINER) + "\n")
    monkeypatch.setenv("RECOLLECT_CA", str(trusted))
    monkeypatch.setenv("RECOLLECT_TOKEN_FILE", str(token))
    folder = tls_folder(site.server.data)
    kept = {name: (folder / name).read_bytes() for name in ("server.key", "server.pem")}
    yield trusted
    for name, content in kept.items():
        _replace(folder / name, content)


@pytest.mark.faults
def test_no_step_is_lost_while_certificates_and_cas_are_replaced(
    site: Site, trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_client, "STEPS_PER_STREAM", 2)
    folder = tls_folder(site.server.data)
    before = trusted.read_bytes()
    channels: set[object] = set()
    steps: list[int] = []
    rotations = 0
    while rotations < NUM_ROTATIONS:
        with ReplayLoader(site.address, site.plan_id, prefetch=1) as batches:
            for batch in batches:
                steps.append(batch.step)
                channels.update(opened.stamp for opened in batches.client._channels.opened.values())
                if batch.step % 4 or rotations == NUM_ROTATIONS:
                    continue
                authority = DevelopmentCA(tmp_path / f"ca-{rotations}")
                pair = authority.server((), days=1)
                # First both CAs are trusted, then the service changes: the order that loses none.
                after = authority.pair.certificate.read_bytes()
                _replace(trusted, before + after)
                _replace(folder / "server.key", pair.key.read_bytes())
                _replace(folder / "server.pem", pair.certificate.read_bytes())
                before = after
                rotations += 1
                wanted = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
                assert _presented(site.address) == wanted
    assert steps == list(range(NUM_STEPS)) * (len(steps) // NUM_STEPS)
    # The loader did go over to new channels, and did not just keep the one that it had.
    assert len(channels) > NUM_ROTATIONS // 2


@pytest.mark.faults
def test_a_stream_that_is_open_goes_on_over_a_replaced_certificate(
    site: Site, trusted: Path
) -> None:
    folder = tls_folder(site.server.data)
    with ReplayLoader(site.address, site.plan_id, prefetch=1) as batches:
        received = iter(batches)
        assert next(received).step == 0
        DevelopmentCA(folder).server((), days=7)
        assert [batch.step for batch in received] == list(range(1, NUM_STEPS))


@pytest.mark.faults
def test_a_token_that_is_revoked_ends_a_stream_that_is_open(site: Site) -> None:
    num_steps = 20_000
    credential, token = site.register.issue_token(
        holder="short", tenant="acme", scopes=[Scope.ADMIN], days=1, by="pytest"
    )
    with open_channel(site.address, site.credentials(token), options=()) as channel:
        long_mix = MIX.replace(f"num_steps: {NUM_STEPS}", f"num_steps: {num_steps}")
        sealed = MixServiceStub(channel).SealPlan(
            mix_pb2.SealPlanRequest(mix_yaml=long_mix), timeout=60
        )
        frames = StreamServiceStub(channel).Fetch(
            stream_pb2.FetchRequest(plan_id=sealed.plan_id, num_steps=num_steps, world_size=1),
            timeout=120,
        )
        next(iter(frames))
        site.register.revoke(credential.credential_id, by="pytest")
        num_received = 1
        with pytest.raises(grpc.RpcError) as caught:
            # What was already on its way still arrives.
            for _ in frames:
                num_received += 1
        assert error_from(caught.value).reason is Reason.CREDENTIAL_REVOKED
        assert num_received < num_steps


def test_half_a_rotation_changes_nothing(tmp_path: Path) -> None:
    authority = DevelopmentCA(tmp_path / "ca")
    pair = authority.server((), days=1)
    certificates = ServerCertificates(pair)
    first = pair.certificate.read_bytes()
    other = DevelopmentCA(tmp_path / "other").server((), days=1)
    for damaged in (other.certificate.read_bytes(), b"", b"no certificate"):
        _replace(pair.certificate, damaged)
        assert certificates._newer() is None
    pair.certificate.unlink()
    assert certificates._newer() is None
    _replace(pair.certificate, other.certificate.read_bytes())
    _replace(pair.key, other.key.read_bytes())
    assert certificates._newer() is not None and certificates._newer() is None
    assert certificates.num_rotations == 1 and first


@pytest.mark.parametrize("damage", ["other key", "no key", "no certificate"])
def test_a_service_does_not_start_with_files_that_do_not_fit(tmp_path: Path, damage: str) -> None:
    pair = DevelopmentCA(tmp_path / "ca").server((), days=1)
    if damage == "other key":
        other = DevelopmentCA(tmp_path / "other").server((), days=1)
        pair = Pair(certificate=pair.certificate, key=other.key)
    elif damage == "no key":
        pair.key.write_text("no key")
    else:
        pair.certificate.write_text("no certificate")
    with pytest.raises(RecollectError) as caught:
        ServerCertificates(pair)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = DevelopmentCA(tmp_path / "ca")
    for pair in (authority.pair, authority.server((), days=1)):
        assert pair.key.stat().st_mode & 0o777 == 0o600
    again = DevelopmentCA(tmp_path / "ca")
    assert again.pair.certificate.read_bytes() == authority.pair.certificate.read_bytes()
