"""The audit: who did what to which object, chained so that nobody can change it unseen."""

from services.gateway.auditing.chain import append_entry, chain_unchained
from services.gateway.auditing.records import note, record_event, record_output

__all__ = ["append_entry", "chain_unchained", "note", "record_event", "record_output"]
