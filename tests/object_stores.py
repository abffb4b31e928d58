"""An S3 server for tests: moto's, in this process, or the one that LIKENESS_TEST_S3_URL names.

That URL has the credentials: http://key:secret@host:port for MinIO or any other endpoint. Each test has its own bucket.
"""

from __future__ import annotations

import atexit
import os
import uuid
from functools import cache
from typing import Any
from urllib.parse import urlsplit


@cache
def s3_url() -> str:
    if given := os.environ.get("LIKENESS_TEST_S3_URL"):
        return given
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://key:secret@{host}:{port}"


def s3_settings(**others: Any) -> dict[str, Any]:
    """Settings of whoever is to use a new bucket of that server."""
    url = urlsplit(s3_url())
    return {
        "store_url": f"s3://{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}",
        "store_bucket": f"test-{uuid.uuid4().hex[:12]}",
        "store_access_key": url.username or "",
        "store_secret_key": url.password or "",
        "store_secure": url.scheme == "https",
        **others,
    }
