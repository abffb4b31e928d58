"""What the face stage counts beyond what every stage does.

The share of dropped live frames is `likeness_face_live_frames_total{outcome="dropped"}` over the sum of all outcomes;
the 95th percentile of what a live swap adds is
`histogram_quantile(0.95, sum by (le) (rate(likeness_face_live_seconds_bucket[1m])))`.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LIVE_SECONDS: Final = (
    0.005,
    0.01,
    0.015,
    0.02,
    0.025,
    0.03,
    0.035,
    0.04,
    0.045,
    0.05,
    0.06,
    0.08,
    0.1,
    0.15,
    0.25,
    1.0,
)
_FRAMES_PER_SECOND: Final = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150)
_FACES: Final = (0, 1, 2, 3, 4, 6, 8, 12, 16)

live_streams = Gauge("likeness_face_live_streams", "Live streams that are open")
live_frames_total = Counter("likeness_face_live_frames", "Live frames by what became of them", ["outcome"])
live_seconds = Histogram(
    "likeness_face_live_seconds",
    "From a live frame's arrival to its answer; without dropped ones",
    buckets=_LIVE_SECONDS,
)
film_frames_total = Counter("likeness_face_film_frames", "Frames of films written")
film_frames_per_second = Histogram(
    "likeness_face_film_frames_per_second", "Speed of a finished segment", buckets=_FRAMES_PER_SECOND
)
faces_per_frame = Histogram(
    "likeness_face_faces_per_frame", "Faces swapped in a picture or frame", ["kind"], buckets=_FACES
)
tracks_total = Counter("likeness_face_tracks", "Faces followed through films and live streams", ["kind"])
