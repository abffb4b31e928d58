"""The connection to an S3 endpoint: attempts, time limits, encryption, and what its failures are called.

A request is tried `ATTEMPTS` times at most; then the store counts as unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import minio
import urllib3
from minio.error import MinioException, S3Error
from minio.sse import Sse, SseKMS, SseS3

from services.common.errors import LikenessError
from services.common.store import not_found

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 3
BACKOFF_S: Final = 0.2  # before the second attempt, twice that before the next
Encryption = Literal["", "s3", "kms"]
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound", "NoSuchUpload", "404"})


@contextmanager
def outages(key: str = "") -> Iterator[None]:
    """NOT_FOUND for what is not there, STORE_UNAVAILABLE for all else that goes wrong in the block."""
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise not_found(key) from error
        detail = f"The object store refused the request: {error.code}."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        detail = "The object store cannot be reached."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error


def connector(access_key: str, secret_key: str, region: str) -> Callable[[str, bool], Any]:
    """A function that makes clients of an address, with TLS or without; they share their connections."""
    retries = urllib3.Retry(
        total=ATTEMPTS - 1,
        backoff_factor=BACKOFF_S,
        status_forcelist=[500, 502, 503, 504],
        allowed_methods=None,  # POST as well: what it does here can be done twice
        respect_retry_after_header=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S), retries=retries, maxsize=16
    )

    def connect(address: str, tls: bool) -> Any:
        return minio.Minio(
            address,
            access_key=access_key or None,
            secret_key=secret_key or None,
            region=region,
            secure=tls,
            http_client=pool,
        )

    return connect


def encryption_of(kind: Encryption, kms_key_id: str) -> Sse | None:
    """What is asked of S3 for every object. Raises ValueError for a KMS key that is not named."""
    if kind == "kms":
        if not kms_key_id:
            raise ValueError("LIKENESS_STORE_ENCRYPTION=kms needs LIKENESS_STORE_KMS_KEY_ID")
        return SseKMS(kms_key_id, {})
    return SseS3() if kind == "s3" else None
