"""Medians; numpy's own is the judge."""

from __future__ import annotations

import numpy as np
import pytest

from services.faceswap.median import median


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (10,), (1, 3), (8, 3), (101, 3)])
def test_medians_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)
    before = values.copy()
    np.testing.assert_array_equal(median(values), np.median(values, axis=0))
    np.testing.assert_array_equal(values, before)
