"""Templates at rest: what was sealed comes back, and only where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.common.errors import LikenessError
from services.gateway.consents.templates import seal, unseal

KEY = bytes(range(32))
VECTOR = np.linspace(-1, 1, 128, dtype=np.float32)
numbers = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32))


@given(vector=numbers, context=st.text(max_size=40))
def test_what_was_sealed_comes_back(vector: np.ndarray, context: str) -> None:
    assert np.array_equal(unseal(KEY, seal(KEY, vector, context), context), vector)


def test_the_same_vector_never_looks_the_same_and_does_not_show() -> None:
    a, b = seal(KEY, VECTOR, "cons_1 face"), seal(KEY, VECTOR, "cons_1 face")
    assert a != b
    assert VECTOR.tobytes()[:16] not in a
    assert len(a) == 1 + 12 + VECTOR.nbytes + 16


@given(position=st.integers(0, 1 + 12 + 512 + 16 - 1), bit=st.integers(0, 7))
def test_any_bit_that_changes_is_noticed(position: int, bit: int) -> None:
    changed = bytearray(seal(KEY, VECTOR, "cons_1 face"))
    changed[position] ^= 1 << bit
    with pytest.raises(LikenessError) as caught:
        unseal(KEY, bytes(changed), "cons_1 face")
    assert caught.value.reason == "TEMPLATE_UNREADABLE"


@pytest.mark.parametrize(
    ("key", "context"), [(KEY, "cons_2 face"), (KEY, "cons_1 voice"), (bytes(reversed(KEY)), "cons_1 face")]
)
def test_another_record_or_key_does_not_open_it(key: bytes, context: str) -> None:
    with pytest.raises(LikenessError) as caught:
        unseal(key, seal(KEY, VECTOR, "cons_1 face"), context)
    assert caught.value.reason == "TEMPLATE_UNREADABLE"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(60), b"\x01" + bytes(27)])
def test_what_is_no_template_is_refused(data: bytes) -> None:
    with pytest.raises(LikenessError):
        unseal(KEY, data, "x")


@pytest.mark.parametrize("vector", [np.zeros((2, 2), np.float32), np.zeros(0, np.float32), np.array([np.nan], "f4")])
def test_what_is_no_vector_is_a_mistake_in_the_code(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match="vector"):
        seal(KEY, vector, "x")


def test_a_short_key_is_a_mistake_in_the_code() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(KEY[:16], VECTOR, "x")
