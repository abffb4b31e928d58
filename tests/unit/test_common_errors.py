"""The error table and the errors made from it."""

from __future__ import annotations

import pickle

import grpc
import pytest

from services.common.errors import REASONS, LikenessError
from services.common.rpc_status import to_status


def test_every_reason_has_a_code_a_status_and_a_title() -> None:
    for name, row in REASONS.items():
        assert name == name.upper()
        assert row.code is not grpc.StatusCode.OK
        assert 400 <= row.http_status < 600
        assert row.title


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_becomes_a_status_of_its_code(reason: str) -> None:
    status = to_status(LikenessError(reason, "what was wrong", field="f"))
    assert status.code == REASONS[reason].code.value[0]
    assert status.message == "what was wrong"


def test_unknown_reason_is_a_mistake_in_the_code() -> None:
    with pytest.raises(ValueError, match="NO_SUCH"):
        LikenessError("NO_SUCH", "x")


def test_errors_survive_pickling() -> None:
    """They cross process borders in worker pools."""
    error = LikenessError("QUEUE_FULL", "busy", field="f", retry_after_s=1.5)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (back.reason, back.detail, back.field, back.retry_after_s) == ("QUEUE_FULL", "busy", "f", 1.5)
