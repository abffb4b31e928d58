"""Records of the gateway: tenants, keys, consents, voices, faces, media, jobs."""

from services.gateway.db.engine import Database, SchemaVersionError, head_revision
from services.gateway.db.models import (
    LOCAL_TENANT,
    ApiKey,
    AuditEntry,
    Base,
    Consent,
    Face,
    IdempotencyRecord,
    Job,
    JobEvent,
    Media,
    Process,
    Tenant,
    Upload,
    Voice,
    WebhookDelivery,
)
from services.gateway.db.queries import Page, delete_record, find, find_named, get_page

__all__ = [
    "LOCAL_TENANT",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Consent",
    "Database",
    "Face",
    "IdempotencyRecord",
    "Job",
    "JobEvent",
    "Media",
    "Page",
    "Process",
    "SchemaVersionError",
    "Tenant",
    "Upload",
    "Voice",
    "WebhookDelivery",
    "delete_record",
    "find",
    "find_named",
    "get_page",
    "head_revision",
]
