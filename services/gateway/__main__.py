"""`python -m services.gateway`: serves the HTTP API until SIGTERM."""

from __future__ import annotations

import os
import sys
import tempfile

from services.gateway.settings import GatewaySettings


def main() -> int:
    settings = GatewaySettings()
    with tempfile.TemporaryDirectory(prefix="likeness-metrics-") as metrics_dir:
        if settings.workers > 1:
            # Read by prometheus_client when it is imported, hence the imports below.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_dir
        from services.gateway.server import serve

        return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
