"""Retrieval and verification figures on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verification import equal_error_rate, retrieval_top1, trial_scores


def test_separated_scores_have_no_errors() -> None:
    assert equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2, 0.3])) == 0.0


def test_reversed_scores_are_all_errors() -> None:
    assert equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 1.0


def test_the_same_distribution_is_a_coin_toss() -> None:
    rng = np.random.default_rng(0)
    assert equal_error_rate(rng.normal(size=4000), rng.normal(size=4000)) == pytest.approx(0.5, abs=0.03)


def test_one_overlap_of_four() -> None:
    same, different = np.array([0.4, 0.6, 0.7, 0.8]), np.array([0.1, 0.2, 0.3, 0.5])
    assert equal_error_rate(same, different) == 0.25


def test_no_trials_is_an_error() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        equal_error_rate(np.array([]), np.array([0.1]))


def test_retrieval_and_trials_of_orthogonal_speakers() -> None:
    enrolled = np.eye(3, 256, dtype=np.float32)
    said = enrolled[[0, 1, 2, 1]]
    assert retrieval_top1(said, [0, 1, 2, 2], enrolled) == 0.75
    same, different = trial_scores(said, [0, 1, 2, 1], enrolled)
    assert same.tolist() == [1.0] * 4
    assert different.tolist() == [0.0] * 8
