"""The Flask application: settings in, WSGI application out."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Final

from apiflask import APIFlask
from flask import Request, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from services.common.errors import LikenessError
from services.common.tracing import configure_tracing
from services.gateway import live_wire
from services.gateway.accounts import SOCKET_PROTOCOL, register_authentication
from services.gateway.accounts.audit import register_audit
from services.gateway.accounts.limits import register_limits
from services.gateway.admission import register_admission
from services.gateway.api import (
    audit,
    batches,
    consents,
    docs,
    faces,
    files,
    grants,
    health,
    job_events,
    jobs,
    keys,
    live,
    media,
    models,
    protected,
    speech,
    swaps,
    tenants,
    uploads,
    verify,
    voice_adaptation,
    voices,
    webhooks,
)
from services.gateway.api.fields import current_gateway
from services.gateway.context import open_gateway
from services.gateway.entity_tags import register_entity_tags
from services.gateway.idempotency import register_idempotency
from services.gateway.openapi import register_openapi
from services.gateway.origins import register_origins
from services.gateway.problems import register_problems
from services.gateway.settings import GatewaySettings
from services.gateway.telemetry import register_telemetry
from services.gateway.uploads import open_spool

VERSION: Final = "0.1.0"
WEB_FOLDER: Final = Path(__file__).parent / "web"
PING_INTERVAL_S: Final = 10  # a browser that went away without a word is found out within two of them
_BLUEPRINTS: Final = (
    consents.voice_consents,
    consents.face_consents,
    consents.well_known,
    protected.bp,
    voices.bp,
    voice_adaptation.bp,
    speech.bp,
    faces.bp,
    swaps.bp,
    live.bp,
    media.bp,
    verify.bp,
    uploads.bp,
    jobs.bp,
    job_events.bp,
    batches.bp,
    files.bp,
    webhooks.bp,
    models.bp,
    keys.bp,
    grants.bp,
    tenants.bp,
    audit.bp,
    health.bp,
    docs.bp,
)


class GatewayRequest(Request):
    """Says what is wrong with a JSON body, and keeps large uploads on the disk of the data folder."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return open_spool(current_gateway().settings.spool_dir, total_content_length)

    def get_json(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_json(*args, **kwargs)
        except RecursionError as error:
            raise LikenessError("REQUEST_MALFORMED", "The JSON is nested too deeply.") from error

    def on_json_loading_failure(self, e: ValueError | None) -> Any:
        raise LikenessError("REQUEST_MALFORMED", f"The body is not valid JSON: {e}")


class GatewayApp(APIFlask):
    request_class = GatewayRequest


def create_app(settings: GatewaySettings | None = None) -> APIFlask:
    """The application with its own database and stage connections. Called in each worker, after the fork."""
    settings = settings or GatewaySettings()
    configure_tracing(settings, "gateway")
    gateway = open_gateway(settings)
    gateway.presence.start()
    app = GatewayApp(
        "likeness",
        title="Likeness",
        version=VERSION,
        docs_path=None,
        json_errors=False,
        static_folder=str(WEB_FOLDER),
        static_url_path="/web",
    )
    app.extensions["likeness"] = gateway
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["SOCK_SERVER_OPTIONS"] = {
        "receive_bytes": 64 * 1024,
        "max_message_size": live_wire.MAX_MESSAGE_BYTES,
        "ping_interval": PING_INTERVAL_S,
        "subprotocols": [SOCKET_PROTOCOL],
    }
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    if settings.is_loopback:
        # A page of another site whose name points at this machine must not reach it (DNS rebinding).
        app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1", "[::1]"]
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    register_telemetry(app)
    register_origins(app, settings)
    register_entity_tags(app)
    register_authentication(app)
    register_limits(app, settings.rate_limit_storage)
    register_admission(app, settings.work_places)
    register_audit(app)
    app.before_request(_allow_large_bodies)
    register_idempotency(app)
    app.after_request(_add_security_headers)
    register_problems(app)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    register_openapi(app)
    return app


def _allow_large_bodies() -> None:
    """Only requests that bring a film may be as large as one is, and a part of an upload as large as that may be."""
    settings = current_gateway().settings
    if request.endpoint in ("swaps.create_swap", "verify.verify"):
        request.max_content_length = settings.max_film_bytes
    elif request.endpoint == "uploads.put_part":
        request.max_content_length = max(settings.max_upload_bytes, settings.upload_part_bytes)


def _add_security_headers(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    return response
