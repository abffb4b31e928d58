"""The bucket's own rules: made by a command, against an S3 server over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from services.common.settings import CommonSettings
from services.common.store import open_store
from services.common.store_s3 import S3Store
from services.gateway.bucket import main
from tests.object_stores import s3_settings


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """Of the settings in the environment, as the command finds them."""
    settings = s3_settings()
    for name, value in settings.items():
        monkeypatch.setenv(f"LIKENESS_{name.upper()}", str(value))
    made = open_store(CommonSettings())
    assert isinstance(made, S3Store)
    return made


def rules(store: S3Store) -> dict[str, Any]:
    return {rule.rule_id: rule for rule in store.client.get_bucket_lifecycle(store.bucket).rules}


def test_rules_are_installed_and_those_of_others_kept(store: S3Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--work-days", "5"]) == 0
    assert "work/ is deleted after 5 days" in capsys.readouterr().out
    theirs = Rule(ENABLED, rule_filter=Filter(prefix="logs/"), rule_id="logs", expiration=Expiration(days=90))
    store.client.set_bucket_lifecycle(store.bucket, LifecycleConfig([theirs, *rules(store).values()]))
    for _ in range(2):
        assert main(["--work-days", "9", "--upload-days", "3"]) == 0
        found = rules(store)
        assert set(found) == {"logs", "likeness-work", "likeness-uploads", "likeness-parts"}
        assert (found["likeness-work"].rule_filter.prefix, found["likeness-work"].expiration.days) == ("work/", 9)
        assert found["likeness-uploads"].expiration.days == 3
        assert found["likeness-parts"].abort_incomplete_multipart_upload.days_after_initiation == 3
        assert found["logs"].expiration.days == 90
    assert not any(rule.rule_filter.prefix.startswith("media") for rule in found.values() if rule.expiration), (
        "media are deleted with their records only"
    )


def test_default_encryption(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_STORE_ENCRYPTION", "s3")
    assert main([]) == 0
    assert store.client.get_bucket_encryption(store.bucket).rule.sse_algorithm == "AES256"
    monkeypatch.setenv("LIKENESS_STORE_ENCRYPTION", "kms")
    monkeypatch.setenv("LIKENESS_STORE_KMS_KEY_ID", "key-1")
    assert main([]) == 0
    rule = store.client.get_bucket_encryption(store.bucket).rule
    assert (rule.sse_algorithm, rule.kms_master_key_id) == ("aws:kms", "key-1")


def test_what_cannot_be_done_is_said(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--work-days", "0"]) == 2
    monkeypatch.setenv("LIKENESS_STORE_URL", "s3://127.0.0.1:1")
    assert main([]) == 1
    monkeypatch.setenv("LIKENESS_STORE_URL", str(tmp_path))
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "at least 1" in told and "cannot be reached" in told and "folder" in told
