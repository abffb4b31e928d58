"""Likeness: consented voice cloning and face swapping, self-hosted.

`Client` talks to a gateway over HTTP; the command `likeness` does the same from a shell and runs the whole platform on
one machine. `likeness.v1` holds the generated gRPC stubs of the stages.
"""

from likeness._accounts import ApiKey, AuditAnchor, AuditEntry, AuditVerification, Tenant
from likeness._client import Client
from likeness._consents import Challenge, Receipt
from likeness._errors import LikenessAPIError, LikenessClientError, LikenessConnectionError, LikenessJobError
from likeness._grants import Grant
from likeness._protected import ProtectedPerson
from likeness._provenance import Origin, Verification
from likeness._subtitles import to_srt, to_vtt
from likeness._swaps import SwapJob
from likeness._types import (
    Batch,
    BatchCounts,
    Consent,
    Face,
    Job,
    JobEvent,
    Media,
    MediaFile,
    Progress,
    Speech,
    SpeechFigures,
    Swap,
    Voice,
    Word,
)
from likeness._uploads import Upload

__all__ = [
    "ApiKey",
    "AuditAnchor",
    "AuditEntry",
    "AuditVerification",
    "Batch",
    "BatchCounts",
    "Challenge",
    "Client",
    "Consent",
    "Face",
    "Grant",
    "Job",
    "JobEvent",
    "LikenessAPIError",
    "LikenessClientError",
    "LikenessConnectionError",
    "LikenessJobError",
    "Media",
    "MediaFile",
    "Origin",
    "Progress",
    "ProtectedPerson",
    "Receipt",
    "Speech",
    "SpeechFigures",
    "Swap",
    "SwapJob",
    "Tenant",
    "Upload",
    "Verification",
    "Voice",
    "Word",
    "to_srt",
    "to_vtt",
]
