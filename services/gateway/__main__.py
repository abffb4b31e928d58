"""`python -m services.gateway`: serves the HTTP API until SIGTERM."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from services.gateway.settings import GatewaySettings


def main() -> int:
    settings = GatewaySettings()
    owner = os.getpid()
    metrics_dir = tempfile.mkdtemp(prefix="likeness-metrics-")
    try:
        if settings.workers > 1:
            # Read by prometheus_client when it is imported, hence the imports below.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_dir
        from services.gateway.server import serve

        return serve(settings)
    finally:
        # A worker of gunicorn that ends comes by here as well, and leaves the others their folder.
        if os.getpid() == owner:
            shutil.rmtree(metrics_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
