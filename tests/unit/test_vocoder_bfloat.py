"""Two weights in a word: what comes out is what went in, to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.vocoder.bfloat import pack_pairs, unpack_pairs

WEIGHTS = st.floats(-1000, 1000, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)


@given(hnp.arrays(np.float32, (6, 5), elements=WEIGHTS))
def test_a_weight_keeps_eight_significant_bits(matrix: np.ndarray) -> None:
    found = unpack_pairs(pack_pairs(matrix))
    assert found.shape == matrix.shape
    np.testing.assert_array_less(np.abs(found - matrix), np.abs(matrix) * 2.0**-8 + 1e-30)


def test_weights_of_eight_bits_come_back_exactly() -> None:
    matrix = np.array([[1.0, -0.5, 96.0], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(unpack_pairs(pack_pairs(matrix))[0], matrix[0])


def test_an_odd_number_of_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        pack_pairs(np.zeros((3, 2), np.float32))
