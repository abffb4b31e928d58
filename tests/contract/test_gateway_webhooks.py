"""Webhooks: what a receiver gets, how often it is tried, and where nothing is ever sent."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import delete, select, update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.common.errors import LikenessError
from services.gateway.context import Gateway, open_gateway
from services.gateway.db import LOCAL_TENANT, Job, Tenant, WebhookDelivery
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.settings import GatewaySettings
from services.gateway.webhooks import check_webhook_url, deliver_due, enqueue_webhook, rotate_secret
from services.gateway.webhooks.outbox import GIVE_UP_AFTER, next_attempt_at
from services.gateway.webhooks.sending import Outcome, _ssl_context
from tests.databases import database_url
from tests.waiting import PROMPT_S

TIMEOUT_S = 1.0


@dataclass
class Receiver:
    """Answers with `status` and `headers`, and keeps what it was sent; `misbehave` may do otherwise."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    misbehave: Callable[[BaseHTTPRequestHandler], None] | None = None
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?of=likeness"

    def start(
        self, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> ThreadingHTTPServer:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                return

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                if receiver.misbehave is not None:
                    receiver.misbehave(self)
                    return
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                return

        server = Server((address, port), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.port = int(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


@pytest.fixture
def listen() -> Iterator[Callable[..., Receiver]]:
    servers: list[ThreadingHTTPServer] = []

    def start(receiver: Receiver | None = None, **where: Any) -> Receiver:
        receiver = receiver or Receiver()
        servers.append(receiver.start(**where))
        return receiver

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("webhooks")
    opened = open_gateway(
        GatewaySettings(
            data_dir=folder,
            database_url=database_url(folder),
            webhook_allow_loopback=True,
            webhook_timeout_s=TIMEOUT_S,
        )
    )
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def empty_outbox(gateway: Gateway) -> None:
    with gateway.database.session() as session:
        session.execute(delete(WebhookDelivery))


def ended_job(gateway: Gateway, url: str | None, state: str = "succeeded") -> str:
    """A job that ends with a message to that address, written in one transaction."""
    with gateway.database.session() as session:
        job = Job(
            id=new_id("job"),
            tenant=LOCAL_TENANT,
            created_at=utc_now(),
            kind="speech",
            state=state,
            request_id="r",
            consent_id="consent_1",
            likeness_id="voice_1",
            parameters={"input": "a secret"},
            figures={},
            finished_at=utc_now(),
            media_id="media_1",
            webhook_url=url,
            custom_id="mine",
        )
        session.add(job)
        enqueue_webhook(session, job)
    return job.id


def outbox(gateway: Gateway) -> list[WebhookDelivery]:
    with gateway.database.session() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def make_due(gateway: Gateway) -> None:
    with gateway.database.session() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.next_at.is_not(None)).values(next_at=utc_now()))


def secret(gateway: Gateway) -> str:
    with gateway.database.session() as session:
        return str(session.scalar(select(Tenant.webhook_secret).where(Tenant.id == LOCAL_TENANT)))


def resolving(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[list[str]]]) -> list[str]:
    """Names resolve to the next of their answers each time, and to the last from then on; the names asked for."""
    real, asked = socket.getaddrinfo, []

    def lookup(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host not in answers:
            return real(host, port, *arguments, **options)
        asked.append(host)
        found = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [entry for address in found for entry in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


# --- what a receiver gets ---


def test_library_of_the_scheme_verifies_the_message(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    receiver = listen()
    job_id = ended_job(gateway, receiver.url)
    assert deliver_due(gateway) == 1
    ((headers, body),) = receiver.got
    message = Webhook(secret(gateway)).verify(body, headers)
    assert message["type"] == "job.succeeded"
    assert message["data"]["id"] == job_id
    assert message["data"]["media"] == "media_1"
    assert message["data"]["custom_id"] == "mine"
    assert b"a secret" not in body
    assert headers["Content-Type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(gateway)).verify(body.replace(b"succeeded", b"failed"), headers)
    (delivery,) = outbox(gateway)
    assert delivery.delivered_at is not None
    assert deliver_due(gateway) == 0


def test_job_without_an_address_tells_nobody(gateway: Gateway) -> None:
    ended_job(gateway, None)
    assert outbox(gateway) == []


def test_after_a_rotation_both_secrets_verify_for_a_day(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    receiver, old = listen(), secret(gateway)
    with gateway.database.session() as session:
        rotate_secret(session.get_one(Tenant, LOCAL_TENANT))
    new = secret(gateway)
    assert new != old
    ended_job(gateway, receiver.url)
    deliver_due(gateway)
    headers, body = receiver.got.pop()
    Webhook(old).verify(body, headers)
    Webhook(new).verify(body, headers)
    with gateway.database.session() as session:
        session.get_one(Tenant, LOCAL_TENANT).webhook_old_secret_until = utc_now() - timedelta(seconds=1)
    ended_job(gateway, receiver.url)
    deliver_due(gateway)
    headers, body = receiver.got.pop()
    Webhook(new).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body, headers)


# --- how often it is tried ---


def test_failing_receiver_is_tried_again_with_the_same_id(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    receiver = listen(Receiver(status=503))
    ended_job(gateway, receiver.url)
    before = datetime.now(UTC)
    deliver_due(gateway)
    (delivery,) = outbox(gateway)
    assert delivery.delivered_at is None
    assert delivery.attempts == 1
    assert str(delivery.last_error).startswith("HTTP 503")
    assert delivery.next_at is not None
    assert 3 < (delivery.next_at - before).total_seconds() <= 6 + PROMPT_S
    assert deliver_due(gateway) == 0, "not before its time"
    receiver.status = 200
    make_due(gateway)
    assert deliver_due(gateway) == 1
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"] == delivery.id
    assert outbox(gateway)[0].delivered_at is not None


def test_several_workers_send_each_message_once(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    receiver = listen()
    jobs = {ended_job(gateway, receiver.url) for _ in range(20)}
    other = open_gateway(gateway.settings)

    def drain(worker: Gateway) -> None:
        while deliver_due(worker, at_once=3):
            pass

    threads = [threading.Thread(target=drain, args=(worker,)) for worker in (gateway, other, gateway)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    verified = [Webhook(secret(gateway)).verify(body, headers)["data"]["id"] for headers, body in receiver.got]
    assert sorted(verified) == sorted(jobs)


def test_message_of_a_killed_worker_is_sent_when_its_claim_has_run_out(
    gateway: Gateway, listen: Callable[..., Receiver]
) -> None:
    receiver = listen()
    ended_job(gateway, receiver.url)
    with gateway.database.session() as session:  # as claimed by somebody who was killed then
        session.execute(update(WebhookDelivery).values(attempts=1, next_at=utc_now() + timedelta(minutes=5)))
    assert deliver_due(gateway) == 0
    make_due(gateway)
    assert deliver_due(gateway) == 1
    assert len(receiver.got) == 1


def test_attempts_spread_over_a_day_and_end() -> None:
    delivery = WebhookDelivery(attempts=0, created_at=utc_now())
    now, waits = delivery.created_at, []
    while True:
        delivery.attempts += 1
        following = next_attempt_at(delivery, Outcome("HTTP 500"), now)
        if following is None:
            break
        waits.append((following - now).total_seconds())
        now = following
    assert now - delivery.created_at > GIVE_UP_AFTER / 2
    assert 8 <= len(waits) <= 16
    assert waits[0] <= 6 and waits[1] <= 18 and waits == sorted(waits[:8]) + waits[8:]
    patient = next_attempt_at(WebhookDelivery(attempts=1, created_at=utc_now()), Outcome("x", True, 900.0), utc_now())
    assert patient is not None and (patient - utc_now()).total_seconds() > 890
    assert next_attempt_at(WebhookDelivery(attempts=1, created_at=utc_now()), Outcome("x", False), utc_now()) is None


def test_receiver_that_is_gone_is_left_alone(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    ended_job(gateway, listen(Receiver(status=410)).url)
    deliver_due(gateway)
    assert outbox(gateway)[0].next_at is None


# --- what receivers may not do ---


def test_receiver_that_drips_is_left_in_time(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(600):
            handler.wfile.write(b"X-More: yes\r\n")
            time.sleep(0.1)

    ended_job(gateway, listen(Receiver(misbehave=drip)).url)
    began_at = time.monotonic()
    deliver_due(gateway)
    assert time.monotonic() - began_at < TIMEOUT_S + PROMPT_S
    assert "within" in str(outbox(gateway)[0].last_error)


def test_endless_answer_is_not_read(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    written = []

    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 65536)
            written.append(1)

    ended_job(gateway, listen(Receiver(misbehave=pour)).url)
    deliver_due(gateway)
    assert len(str(outbox(gateway)[0].last_error)) < 300
    assert len(written) < 200, "what fits into the sockets' buffers, and no more"


def test_redirects_are_not_followed(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    inner = listen()
    outer = listen(Receiver(status=307, headers={"Location": inner.url}))
    ended_job(gateway, outer.url)
    deliver_due(gateway)
    assert len(outer.got) == 1
    assert inner.got == []
    assert "redirect" in str(outbox(gateway)[0].last_error)


# --- where nothing is sent ---

STRICT = GatewaySettings()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "https://user:password@example.com/",
        "https://",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::1]/",
    ],
)
def test_address_is_refused_with_the_request(url: str) -> None:
    with pytest.raises(LikenessError) as caught:
        check_webhook_url(url, STRICT)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "webhook_url")


def test_public_addresses_and_named_exceptions_are_allowed() -> None:
    for url in ("https://example.com/hook?a=b", "https://93.184.216.34:8443/", "https://[2606:4700::1111]/"):
        check_webhook_url(url, STRICT)
    check_webhook_url("http://Hooks.example.com/", GatewaySettings(webhook_http_hosts=("hooks.example.com",)))
    check_webhook_url("http://localhost:9/", GatewaySettings(webhook_allow_loopback=True))
    with pytest.raises(LikenessError):
        check_webhook_url("http://192.168.1.1/", GatewaySettings(webhook_http_hosts=("192.168.1.1",)))


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.7"], ["93.184.216.34", "10.0.0.7"], ["169.254.169.254"], ["fe80::1"], ["::ffff:192.168.0.1"]],
)
def test_name_of_a_private_address_is_refused_when_it_is_looked_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving(monkeypatch, {"hooks.example.com": [addresses]})
    ended_job(gateway, "https://hooks.example.com/")
    deliver_due(gateway)
    (delivery,) = outbox(gateway)
    assert "is not a public address" in str(delivery.last_error)
    assert delivery.next_at is None, "it is not asked again and again"


def test_loopback_is_refused_without_the_setting(gateway: Gateway, listen: Callable[..., Receiver]) -> None:
    receiver = listen()
    strict = Gateway(**{**vars(gateway), "settings": GatewaySettings(data_dir=gateway.settings.data_dir)})
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f000001"):
        ended_job(gateway, f"https://{host}:{receiver.port}/")
    deliver_due(strict)
    errors = [str(delivery.last_error) for delivery in outbox(gateway)]
    assert all("is not a public address" in error for error in errors), errors
    assert receiver.got == []


def test_name_that_changes_its_address_is_asked_once(
    gateway: Gateway, listen: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was checked is the one that is called, whatever the name means a moment later."""
    checked = listen(address="127.0.0.1")
    other = listen(address="127.0.0.9", port=checked.port)
    monkeypatch.setitem(gateway.settings.__dict__, "webhook_http_hosts", ("hooks.example.com",))
    asked = resolving(monkeypatch, {"hooks.example.com": [["127.0.0.1"], ["127.0.0.9"]]})
    ended_job(gateway, f"http://hooks.example.com:{checked.port}/")
    deliver_due(gateway)
    assert asked == ["hooks.example.com"]
    assert len(checked.got) == 1
    assert checked.got[0][0]["Host"] == f"hooks.example.com:{checked.port}"
    assert other.got == []


# --- TLS ---


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for hooks.example.com, and the certificate that it is signed with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, tmp_path / "key.pem")
    return context, path


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_verified_for_the_name_not_the_address(
    gateway: Gateway,
    listen: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
    certified: tuple[ssl.SSLContext, Path],
    trusted: bool,
) -> None:
    context, certificate = certified
    receiver = listen(tls=context)
    resolving(monkeypatch, {"hooks.example.com": [["127.0.0.1"]]})
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _ssl_context.cache_clear()
    try:
        ended_job(gateway, f"https://hooks.example.com:{receiver.port}/")
        ended_job(gateway, f"https://localhost:{receiver.port}/")  # the certificate is not for this name
        deliver_due(gateway)
    finally:
        _ssl_context.cache_clear()
    first, second = outbox(gateway)
    assert (first.delivered_at is not None) is trusted
    assert "CERTIFICATE_VERIFY_FAILED" in str(second.last_error)
    assert len(receiver.got) == int(trusted)


def test_addresses_of_examples_are_what_they_are_taken_for() -> None:
    assert ipaddress.ip_address("64:ff9b::a00:1") in ipaddress.ip_network("64:ff9b::/96")
    assert str(ipaddress.IPv6Address("2002:a00:1::1").sixtofour) == "10.0.0.1"
