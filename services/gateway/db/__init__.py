"""Records of the gateway: consents, voices, faces, media, jobs."""

from services.gateway.db.engine import SCHEMA_VERSION, Database, SchemaVersionError
from services.gateway.db.models import LOCAL_TENANT, Base, Consent, Face, Job, Media, Voice
from services.gateway.db.queries import Page, delete_record, find, find_named, get_page

__all__ = [
    "LOCAL_TENANT",
    "SCHEMA_VERSION",
    "Base",
    "Consent",
    "Database",
    "Face",
    "Job",
    "Media",
    "Page",
    "SchemaVersionError",
    "Voice",
    "delete_record",
    "find",
    "find_named",
    "get_page",
]
