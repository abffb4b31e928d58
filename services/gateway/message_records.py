"""What stages say, as records keep it."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict


def message_record(message: Any) -> dict[str, Any]:
    """A message as a JSON object, as records keep it."""
    record: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return record
