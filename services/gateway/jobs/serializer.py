"""What the queue keeps of steps: JSON, and failures with their reason. Nothing that is unpickled."""

from __future__ import annotations

import json
from typing import Any, Final

from dbos._serialization import Serializer

from services.common.errors import REASONS, LikenessError

_ERROR: Final = "$error"


class JsonSerializer(Serializer):
    """For values of JSON and for exceptions, of which a LikenessError keeps all it has."""

    def name(self) -> str:
        return "likeness_json"

    def serialize(self, data: Any) -> str:
        if isinstance(data, LikenessError):
            data = {_ERROR: [data.reason, data.detail, data.field]}
        elif isinstance(data, BaseException):
            data = {_ERROR: ["INTERNAL", f"{type(data).__name__}: {data}", None]}
        return json.dumps(data, separators=(",", ":"))

    def deserialize(cls, serialized_data: str) -> Any:  # noqa: N805 - as the library calls it
        value = json.loads(serialized_data)
        if isinstance(value, dict) and _ERROR in value:
            reason, detail, field = value[_ERROR]
            return LikenessError(reason if reason in REASONS else "INTERNAL", detail, field=field)
        return value
