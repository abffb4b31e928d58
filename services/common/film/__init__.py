"""Films: what is in a file, where it is cut, its pictures in and out, and the parts joined."""

from services.common.film.join import CONTENT_TYPES, FilmFormat, JoinedFilm, join_film
from services.common.film.plan import DEFAULT_SEGMENT_S, SegmentSpan, plan_segments
from services.common.film.probe import AudioTrack, Colour, FilmInfo, probe_film
from services.common.film.reader import read_frames
from services.common.film.writer import SEGMENT_CONTENT_TYPE, FilmCoding, SegmentWriter

__all__ = [
    "CONTENT_TYPES",
    "DEFAULT_SEGMENT_S",
    "SEGMENT_CONTENT_TYPE",
    "AudioTrack",
    "Colour",
    "FilmCoding",
    "FilmFormat",
    "FilmInfo",
    "JoinedFilm",
    "SegmentSpan",
    "SegmentWriter",
    "join_film",
    "plan_segments",
    "probe_film",
    "read_frames",
]
