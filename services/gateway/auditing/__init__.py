"""The audit: who did what to which object, chained so that nobody can change it unseen."""

from services.gateway.auditing.chain import Entry, append_entries_in, append_entry, chain_unchained
from services.gateway.auditing.records import entry_of_end, note, note_grant, record_event

__all__ = [
    "Entry",
    "append_entries_in",
    "append_entry",
    "chain_unchained",
    "entry_of_end",
    "note",
    "note_grant",
    "record_event",
]
