"""`python -m services.gateway.bucket`: makes the bucket on S3, with rules by which the store itself cleans up.

Rules of others are kept; ours are replaced by those of this call. Running it again changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any, Final

from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule
from minio.sseconfig import Rule as EncryptionRule
from minio.sseconfig import SSEConfig

from services.common.errors import LikenessError
from services.common.settings import CommonSettings
from services.common.store import open_store
from services.common.store_s3 import S3Store
from services.common.store_s3_connection import outages

DEFAULT_WORK_DAYS: Final = 7
DEFAULT_UPLOAD_DAYS: Final = 2
_OURS: Final = "likeness-"
_NOTHING_THERE: Final = ("NoSuchLifecycleConfiguration", "NoSuchBucketLifecycle")


@dataclass(frozen=True)
class BucketRules:
    """After how many days working copies, and what is left of uploads, are deleted by the store.

    Both are a net below the workers' own sweeping, and have to be longer than a job or an upload may take.
    """

    work_days: int = DEFAULT_WORK_DAYS
    upload_days: int = DEFAULT_UPLOAD_DAYS


def install_rules(store: S3Store, rules: BucketRules, *, encryption: str = "", kms_key_id: str = "") -> list[str]:
    """Makes the bucket, its lifecycle rules and, when told one, its default encryption; what was done, in sentences.

    Raises:
        LikenessError: STORE_UNAVAILABLE, also when the account may not do that.
    """
    done = []
    with outages():
        store.require_bucket()
        store.client.set_bucket_lifecycle(store.bucket, LifecycleConfig([*_others(store), *_rules(rules)]))
        done.append(f"Bucket {store.bucket}: work/ is deleted after {rules.work_days} days.")
        done.append(f"uploads/ and incomplete multipart uploads are deleted after {rules.upload_days} days.")
        if encryption:
            kind = EncryptionRule.new_sse_s3_rule()
            if encryption == "kms":
                kind = EncryptionRule.new_sse_kms_rule(kms_key_id or None)
            store.client.set_bucket_encryption(store.bucket, SSEConfig(kind))
            done.append(f"Objects are encrypted by default: {'KMS' if encryption == 'kms' else 'keys of S3 itself'}.")
    return done


def _rules(rules: BucketRules) -> list[Rule]:
    return [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix="work/"),
            rule_id=f"{_OURS}work",
            expiration=Expiration(days=rules.work_days),
        ),
        Rule(
            ENABLED,
            rule_filter=Filter(prefix="uploads/"),
            rule_id=f"{_OURS}uploads",
            expiration=Expiration(days=rules.upload_days),
        ),
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id=f"{_OURS}parts",
            abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=rules.upload_days),
        ),
    ]


def _others(store: S3Store) -> list[Any]:
    try:
        found = store.client.get_bucket_lifecycle(store.bucket)
    except S3Error as error:
        if error.code not in _NOTHING_THERE:
            raise
        return []
    return [rule for rule in (found.rules if found else []) if not (rule.rule_id or "").startswith(_OURS)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway.bucket", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--work-days", type=int, default=DEFAULT_WORK_DAYS, help="Age at which work/ is deleted.")
    parser.add_argument("--upload-days", type=int, default=DEFAULT_UPLOAD_DAYS, help="The same of unfinished uploads.")
    given = parser.parse_args(arguments)
    settings = CommonSettings()
    store = open_store(settings)
    if not isinstance(store, S3Store):
        print("LIKENESS_STORE_URL names a folder, which needs no rules; workers sweep it.", file=sys.stderr)
        return 2
    if given.work_days < 1 or given.upload_days < 1:
        print("--work-days and --upload-days: at least 1.", file=sys.stderr)
        return 2
    try:
        done = install_rules(
            store,
            BucketRules(given.work_days, given.upload_days),
            encryption=settings.store_encryption,
            kms_key_id=settings.store_kms_key_id,
        )
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    print("\n".join(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
