"""The audit: who did what to which object, chained so that nobody can change it unseen."""

from services.gateway.auditing.chain import append_entry, append_entry_in, chain_unchained
from services.gateway.auditing.records import note, note_grant, record_end, record_event

__all__ = ["append_entry", "append_entry_in", "chain_unchained", "note", "note_grant", "record_end", "record_event"]
