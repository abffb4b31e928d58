"""Which clips are of the person that most of them are of, on embeddings made by formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.gateway.voice_clips import LIKE_ANOTHER, LIKE_THE_OTHERS, same_speaker


def clips_of(person: int, count: int, rng: np.random.Generator, spread: float = 0.5) -> NDArray[np.float32]:
    """Embeddings (count, 256) whose mutual cosine is about 1 / (1 + spread²): 0.8, as of clips of four seconds."""
    middle = np.zeros(256)
    middle[person] = 1.0
    made = middle + rng.standard_normal((count, 256)) * spread / 16.0
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_clips_of_one_person_all_belong(count: int, seed: int) -> None:
    belongs, likeness = same_speaker(clips_of(0, count, np.random.default_rng(seed)))
    assert belongs.all()
    assert (likeness >= (LIKE_THE_OTHERS if count > 2 else LIKE_ANOTHER)).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(1, 7), st.integers(0, 1000))
def test_the_larger_side_belongs_in_any_order(most: int, others: int, seed: int) -> None:
    if others >= most:
        return
    rng = np.random.default_rng(seed)
    embeddings = np.concatenate([clips_of(0, most, rng), clips_of(1, others, rng)])
    order = np.random.default_rng(seed).permutation(len(embeddings))
    belongs, likeness = same_speaker(embeddings[order])
    np.testing.assert_array_equal(belongs, order < most)
    assert likeness[belongs].min() > likeness[~belongs].max()


def test_strangers_to_each_other_have_no_majority() -> None:
    rng = np.random.default_rng(0)
    belongs, _ = same_speaker(np.concatenate([clips_of(person, 1, rng) for person in range(4)]))
    assert belongs.sum() == 1


def test_likeness_is_the_cosine_to_the_mean_of_the_others() -> None:
    rng = np.random.default_rng(0)
    embeddings = clips_of(0, 3, rng)
    _, likeness = same_speaker(embeddings)
    mean = embeddings[1:].mean(axis=0)
    assert likeness[0] == pytest.approx(float(embeddings[0] @ mean / np.linalg.norm(mean)), abs=1e-6)
