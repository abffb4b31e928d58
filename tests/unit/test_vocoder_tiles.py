"""Products and gates in LLVM's vectors: what they compute, and that lanes do not change it."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from services.vocoder.bfloat import pack_pairs, unpack_pairs
from services.vocoder.tiles import add_paired_products, add_products, apply_gates, apply_silu, padded

LANES = [1, 2, 3, 4, 5, 7, 8, 11, 16, 19]


@numba.njit
def _gates(values: np.ndarray, out: np.ndarray) -> None:
    apply_gates(values, out)


@numba.njit
def _silu(values: np.ndarray, out: np.ndarray) -> None:
    apply_silu(values, out)


@pytest.mark.parametrize("half", [16, 48, 64, 80])
@pytest.mark.parametrize("lanes", LANES)
def test_paired_products_are_those_of_the_rounded_weights(half: int, lanes: int) -> None:
    random = np.random.default_rng(lanes)
    words = pack_pairs(random.normal(size=(2 * half, 37)).astype(np.float32))
    vectors = random.normal(size=(lanes, 41)).astype(np.float32)  # longer than the matrix is wide
    begun = random.normal(size=(lanes, 2 * half)).astype(np.float32)
    out = begun.copy()
    add_paired_products(words, vectors, out, lanes)
    expected = begun + vectors[:, :37].astype(np.float64) @ unpack_pairs(words).T
    np.testing.assert_allclose(out, expected, atol=1e-4)
    one_by_one = begun.copy()
    for lane in range(lanes):
        add_paired_products(words, vectors[lane : lane + 1], one_by_one[lane : lane + 1], 1)
    np.testing.assert_array_equal(out, one_by_one)


@pytest.mark.parametrize("lanes", LANES)
def test_plain_products(lanes: int) -> None:
    random = np.random.default_rng(lanes)
    matrix = random.normal(size=(52, 48)).astype(np.float32)
    vectors = random.normal(size=(lanes, 52)).astype(np.float32)
    out = np.ones((lanes, 48), np.float32)
    add_products(matrix, vectors, out, lanes)
    np.testing.assert_allclose(out, 1 + vectors.astype(np.float64) @ matrix, atol=1e-4)
    one_by_one = np.ones((lanes, 48), np.float32)
    for lane in range(lanes):
        add_products(matrix, vectors[lane : lane + 1], one_by_one[lane : lane + 1], 1)
    np.testing.assert_array_equal(out, one_by_one)


def test_lanes_that_are_not_asked_for_are_left_alone() -> None:
    words = pack_pairs(np.ones((32, 8), np.float32))
    out = np.zeros((9, 32), np.float32)
    add_paired_products(words, np.ones((9, 8), np.float32), out, 5)
    np.testing.assert_allclose(out[:5], 8, rtol=2.0**-8)
    np.testing.assert_array_equal(out[5:], 0)


def test_gates_are_tanh_times_sigmoid_everywhere() -> None:
    a, b = np.meshgrid(np.concatenate([np.linspace(-12, 12, 253), [-1e4, 1e4, 0.0]]), np.linspace(-30, 30, 64))
    values = np.stack([a, b]).reshape(2, -1).astype(np.float32)
    out = np.empty(values.shape[1], np.float32)
    _gates(values.reshape(-1), out)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(out, np.tanh(exact[0]) / (1 + np.exp(-exact[1])), atol=1e-6)


def test_silu_everywhere() -> None:
    values = np.concatenate([np.linspace(-40, 40, 4091), [-1e4, 1e4, 0.0, -0.0, 1e-20]]).astype(np.float32)
    out = np.empty_like(values)
    _silu(values, out)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(out, exact / (1 + np.exp(-np.clip(exact, -700, None))), rtol=1e-6, atol=1e-6)


def test_outputs_come_in_multiples_of_sixteen() -> None:
    assert [padded(count) for count in (1, 16, 17, 48, 64)] == [16, 16, 32, 48, 64]
