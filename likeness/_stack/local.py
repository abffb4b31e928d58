"""The servers of one machine and how they find each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from likeness._stack.ports import DEFAULT_METRICS_PORTS, DEFAULT_STAGE_PORTS, choose_ports
from likeness._stack.process import ServerSpec
from services.common.keys import make_keys

LOOPBACK: Final = "127.0.0.1"
GATEWAY: Final = "gateway"
WORKER: Final = "worker"
GRPC_SERVICES: Final = {
    "encoder": "likeness.v1.EncoderService",
    "synthesizer": "likeness.v1.SynthesizerService",
    "vocoder": "likeness.v1.VocoderService",
    "faceswap": "likeness.v1.FaceSwapService",
}


def local_servers(
    data_dir: Path,
    *,
    host: str = LOOPBACK,
    http_port: int,
    prefer_default_ports: bool = True,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> list[ServerSpec]:
    """Four stages, then the worker, then the gateway; their keys are made where LIKENESS_KEYS_DIR names none.

    Args:
        data_dir: database, media and logs; shared by all servers.
        host: where the gateway listens; the stages stay on loopback.
        prefer_default_ports: stages take their documented ports while those are free.
        environment: further LIKENESS_* settings, by server name.
    """
    if not os.environ.get("LIKENESS_KEYS_DIR"):
        make_keys(data_dir / "keys")
    extra = environment or {}
    ports = choose_ports(DEFAULT_STAGE_PORTS, prefer=prefer_default_ports)
    metrics_ports = choose_ports(DEFAULT_METRICS_PORTS, prefer=prefer_default_ports)
    # On loopback they talk in plain text, whatever the environment has for servers elsewhere.
    shared = {"LIKENESS_DATA_DIR": str(data_dir.resolve()), "LIKENESS_TLS_DIR": ""}
    stages = [
        ServerSpec(
            name=name,
            module=f"services.{name}",
            host=LOOPBACK,
            port=ports[name],
            metrics_port=metrics_ports[name],
            grpc_service=service,
            environment=shared
            | {
                "LIKENESS_HOST": LOOPBACK,
                "LIKENESS_PORT": str(ports[name]),
                "LIKENESS_METRICS_HOST": LOOPBACK,
                "LIKENESS_METRICS_PORT": str(metrics_ports[name]),
            }
            | dict(extra.get(name, {})),
        )
        for name, service in GRPC_SERVICES.items()
    ]
    targets = {f"LIKENESS_{stage.name.upper()}_TARGET": stage.address for stage in stages}
    worker = ServerSpec(
        name=WORKER,
        module="services.gateway.worker",
        host=LOOPBACK,
        port=metrics_ports[WORKER],  # its metrics are all that it serves
        metrics_port=metrics_ports[WORKER],
        environment=shared
        | targets
        | {
            "LIKENESS_WORKER_ID": WORKER,
            "LIKENESS_METRICS_HOST": LOOPBACK,
            "LIKENESS_METRICS_PORT": str(metrics_ports[WORKER]),
        }
        | dict(extra.get(WORKER, {})),
    )
    gateway = ServerSpec(
        name=GATEWAY,
        module="services.gateway",
        host=host,
        port=http_port,
        environment=shared
        | targets
        | {"LIKENESS_HOST": host, "LIKENESS_HTTP_PORT": str(http_port)}
        | dict(extra.get(GATEWAY, {})),
    )
    return [*stages, worker, gateway]
