"""Figures and problems: numbers in headers, cosines, reasons told twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import REASONS, LikenessError
from services.gateway.figures import SpeechFigures, cosine, model_versions, speech_headers
from services.gateway.problems import describe, problem_response, problem_type

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, scale=st.floats(0.01, 100))
def test_cosine_is_that_of_the_angle(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 256)).astype(np.float32)
    similarity = cosine(a, b)
    assert -1.0001 <= similarity <= 1.0001
    assert similarity == pytest.approx(cosine(b, a), abs=1e-5)
    assert cosine(a, np.float32(scale) * a) == pytest.approx(1.0, abs=1e-4)
    assert cosine(a, -a) == pytest.approx(-1.0, abs=1e-4)
    expected = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert similarity == pytest.approx(float(expected), abs=1e-5)


def test_embeddings_that_cannot_be_compared_are_an_error() -> None:
    with pytest.raises(LikenessError):
        cosine(np.ones(256, np.float32), np.ones(0, np.float32))
    with pytest.raises(LikenessError):
        cosine(np.zeros(256, np.float32), np.ones(256, np.float32))


def test_headers_tell_what_is_not_known() -> None:
    figures = SpeechFigures(ttfa_ms=12.34, real_time_factor=0.25)
    headers = speech_headers("job_1", figures, similarity=None, complete=False)
    assert headers == {
        "X-Likeness-Job": "job_1",
        "X-Likeness-Real-Time-Factor": "0.2500",
        "X-Likeness-Time-To-First-Audio-Ms": "12.3",
        "X-Likeness-Speaker-Similarity": "unmeasured",
        "X-Likeness-Figures": "first-chunk",
    }


def test_model_versions_are_those_of_the_manifest(tmp_path: Path) -> None:
    row = {"file": "x.onnx", "format": "onnx", "license": "", "source": "", "data": ""}
    names = ("encoder-ge2e", "vocoder-wavenet", "face-mesh")
    models = [{"name": name, "sha256": f"{index}" * 64, **row} for index, name in enumerate(names)]
    (tmp_path / "manifest.json").write_text(json.dumps({"models": models}))
    assert model_versions(tmp_path, "wavenet") == {"encoder-ge2e": "0" * 12, "vocoder-wavenet": "1" * 12}
    assert model_versions(tmp_path, "draft") == {"encoder-ge2e": "0" * 12}
    assert model_versions(tmp_path / "nowhere", "draft") == {}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_is_a_problem(reason: str) -> None:
    error = LikenessError(reason, "What was wrong.", field="voice", retry_after_s=2.2)
    with Flask(__name__).test_request_context():
        response = problem_response(error)
    body = json.loads(response.get_data())
    assert response.status_code == body["status"] == REASONS[reason].http_status
    assert response.content_type == "application/problem+json"
    assert body["type"] == problem_type(reason)
    assert body["error"]["message"] == body["detail"] == "What was wrong."
    assert body["error"]["param"] == body["field"] == "voice"
    assert ("Retry-After" in response.headers) == (response.status_code in (429, 503))
    if "Retry-After" in response.headers:
        assert response.headers["Retry-After"] == "3"


def test_problem_types_are_distinct() -> None:
    assert len({problem_type(reason) for reason in REASONS}) == len(REASONS)


def test_problem_without_a_field_lists_none() -> None:
    body = describe(LikenessError("INTERNAL", "x"))
    assert body["errors"] == []
    assert body["field"] is None
