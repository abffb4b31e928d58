"""A backup: one tar file with all records, in a form that every database can take, and all files they name.

    likeness-backup.json        which version wrote it, when, and the revision of its tables
    objects/<key>               files
    tables/<name>.jsonl         records, one JSON object a line
    manifest.json               the SHA-256 and size of each of the above

It is taken while the gateway serves: the records are those of one moment, and what was deleted since is left out. Work
in progress is not in it (unfinished jobs begin again), nor uploads that are not complete, nor the key of signed URLs.
"""

from services.gateway.backup.archive import BackupError
from services.gateway.backup.reading import RestoreReport, restore_backup, verify_backup
from services.gateway.backup.writing import BackupReport, write_backup

__all__ = ["BackupError", "BackupReport", "RestoreReport", "restore_backup", "verify_backup", "write_backup"]
