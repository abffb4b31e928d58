"""The files of mutual TLS: what fits is used, what does not is named, what is renewed is taken up."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.common import tls
from services.common.tls import TlsError, TlsFolder, read_tls
from services.gateway.settings import GatewaySettings
from tests.contract.tls_authority import Authority, mount, pem_of

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_what_cannot_be_used_does_not_replace_what_can(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CHECK_EVERY_S", 0.0)
    good = authority.issue(LOOPBACK)
    folder = TlsFolder(mount(tmp_path / "tls", good))
    first = folder.current()
    with caplog.at_level(logging.WARNING):
        mount(tmp_path / "tls", {**authority.issue(LOOPBACK), "tls.key": good["tls.key"]})
        assert folder.current() is first and folder.current() is first
    assert len(caplog.records) == 1 and "not the key of the certificate" in caplog.text
    renewed = authority.issue(LOOPBACK)
    mount(tmp_path / "tls", renewed)
    assert folder.current().certificate == renewed["tls.crt"] != first.certificate


def test_files_are_not_looked_at_for_every_call(tmp_path: Path, authority: Authority) -> None:
    folder = TlsFolder(mount(tmp_path / "tls", authority.issue(LOOPBACK)))
    first = folder.current()
    mount(tmp_path / "tls", authority.issue(LOOPBACK))
    assert folder.current() is first  # tls.CHECK_EVERY_S have not passed


def test_files_that_do_not_fit_are_named(tmp_path: Path, authority: Authority) -> None:
    good = authority.issue(LOOPBACK)
    other_key = ec.generate_private_key(ec.SECP256R1())
    broken = {
        "tls.key cannot be read": {name: good[name] for name in ("tls.crt", "ca.crt")},
        "ca.crt cannot be read": {name: good[name] for name in ("tls.crt", "tls.key")},
        "tls.crt holds no certificate": {**good, "tls.crt": b""},
        "ca.crt holds no certificate": {**good, "ca.crt": b"-----BEGIN CERTIFICATE-----\nAAAA\n"},
        "tls.key holds no private key": {**good, "tls.key": good["tls.crt"]},
        "without a password": {**good, "tls.key": pem_of(other_key, b"word")},
        "not the key of the certificate in tls.crt": {**good, "tls.key": pem_of(other_key)},
        "tls.crt expired": authority.issue(LOOPBACK, valid=-timedelta(minutes=1)),
    }
    for number, (told, files) in enumerate(broken.items()):
        with pytest.raises(TlsError, match=told):
            read_tls(mount(tmp_path / str(number), files))
    assert read_tls(mount(tmp_path / "good", good)).private_key == good["tls.key"]


@pytest.mark.parametrize("program", ["services.encoder", "services.gateway"])
def test_a_program_without_its_files_does_not_start(program: str, tmp_path: Path) -> None:
    environment = {"LIKENESS_DATA_DIR": str(tmp_path / "data"), "LIKENESS_TLS_DIR": str(tmp_path / "tls")}
    environment |= {"LIKENESS_PORT": "0", "LIKENESS_METRICS_PORT": "0", "LIKENESS_HTTP_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", program],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == (1 if program == "services.encoder" else 2)
    line = (ended.stdout + ended.stderr).strip().splitlines()[-1]
    assert str(tmp_path / "tls" / "tls.crt") in line and "LIKENESS_TLS_DIR" in line


def test_an_empty_variable_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_TLS_DIR", "")
    assert GatewaySettings().tls_dir is None
