"""Face swaps in films: frames per second from file to file, live latency, trembling, memory.

    python -m benchmarks.face_video [--video FILE] [--seconds 4]

Without FILE the films are synthetic (benchmarks/face_film.py); they are made once and kept in out/benchmarks/films.
One JSON object on stdout, progress on stderr. What the keys mean stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face_film import make_film, sample_heads, write_film
from benchmarks.machine import describe_machine
from services.common.decode import decode_picture, encode_picture
from services.common.film import FilmInfo, SegmentSpan, join_film, plan_segments, probe_film, read_frames
from services.common.marking.frame_marker import FrameMarker
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper
from services.faceswap.canvas import PictureCanvas
from services.faceswap.planes import PlanesCanvas
from services.faceswap.segment import SegmentResult, swap_segment
from services.faceswap.selection import Person, Selector
from services.faceswap.sequence import SequenceSwapper
from services.faceswap.tracker import FaceTracker

FILMS: Final = Path("out/benchmarks/films")
HEIGHTS: Final = (480, 720, 1080)
THREE_FACES: Final = 3
SEGMENTS_AT_ONCE: Final = 2  # as the gateway asks for by default
LIVE_QUALITY: Final = 85
MEMORY_TIMES: Final = (1, 4)  # how often the film is repeated in the runs that measure memory
MARKER: Final = FrameMarker(bytes(range(32)), 1)
FloatArray = NDArray[np.float32]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """Of one film: pictures per second from file to file, and milliseconds of processor time per picture.

    `processor_ms` is that of all threads, with the pictures before each segment and joining.
    """

    fps: float
    processor_ms: float
    decode_ms: float
    swap_ms: float
    encode_ms: float


def synthetic(swapper: FaceSwapper, height_px: int, faces: int, seconds: float) -> Path:
    """The synthetic film of that kind, made unless it is there."""
    path = FILMS / f"{height_px}p-{faces}-{seconds:g}s.mp4"
    if not path.exists():
        _log.info("making %s", path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        write_film(make_film(swapper, height_px, faces=faces, seconds=seconds), part)
        part.replace(path)
    return path


def source_person(swapper: FaceSwapper) -> Person:
    """A man of the group, who is in none of the films and is put onto all faces."""
    head = sample_heads(swapper)[4]
    low, high = head.points[:, :2].min(axis=0), head.points[:, :2].max(axis=0)
    margin = float((high - low).max())
    left, top = (max(0, int(v - margin)) for v in low)
    picture = head.picture[top : int(high[1] + margin), left : int(high[0] + margin)]
    return swapper.person([np.ascontiguousarray(picture)], Selector("all"))


def speed(swapper: FaceSwapper, person: Person, film: Path, folder: Path) -> Speed:
    """From file to file, as a job does it: segments side by side, and joining."""
    info = probe_film(film)
    duration_s = (info.end_pts - info.start_pts) * float(info.time_base)
    plan = plan_segments(info, duration_s / SEGMENTS_AT_ONCE + 1e-3)

    def swap(span: SegmentSpan) -> SegmentResult:
        out = folder / f"segment-{span.start_pts}.nut"
        return swap_segment(
            swapper, film, out, [person], info=info, start_pts=span.start_pts, end_pts=span.end_pts, marker=MARKER
        )

    started, worked_s = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(SEGMENTS_AT_ONCE) as pool:
        results = list(pool.map(swap, plan))
    join_film([result.path for result in results], plan, film, info, folder / "joined.mp4")
    seconds, worked_s = time.perf_counter() - started, time.process_time() - worked_s
    frames = sum(result.frames for result in results)
    parts = (1000 * sum(r.seconds[name] for r in results) / frames for name in ("decode", "swap", "encode"))
    return Speed(frames / seconds, 1000 * worked_s / frames, *parts)


def live_latencies_ms(swapper: FaceSwapper, person: Person, film: Path) -> tuple[list[float], list[float]]:
    """Wall time and processor time per frame in this process: JPEG in, swap, mark, JPEG out."""
    info = probe_film(film)
    frames = [PlanesCanvas(frame).whole() for frame in read_frames(film, info)]
    coded = [encode_picture(frame, "jpeg", LIVE_QUALITY) for frame in frames]
    sequence = SequenceSwapper(swapper, [person])
    times_ms, worked_ms = [], []
    for number, data in enumerate(coded):
        started, worked_s = time.perf_counter(), time.process_time()
        picture = np.asarray(decode_picture(data))
        sequence.swap_canvas(PictureCanvas(picture), number / float(info.frame_rate))
        MARKER.mark_bgr(picture)
        encode_picture(picture, "jpeg", LIVE_QUALITY)
        times_ms.append(1000 * (time.perf_counter() - started))
        worked_ms.append(1000 * (time.process_time() - worked_s))
    return times_ms[1:], worked_ms[1:]  # the first one finds the faces


def jitter(swapper: FaceSwapper, film: Path) -> float:
    """Trembling of all faces that are there throughout: root mean square of second differences, in face sizes."""
    info = probe_film(film)
    tracker = FaceTracker(swapper.finder, swapper.recogniser, smooth=False, mirrored=True)
    paths: dict[int, list[FloatArray]] = {}
    for frame in read_frames(film, info):
        for track in tracker.update(PlanesCanvas(frame), info.time_s(frame.pts)).tracks:
            paths.setdefault(track.id, []).append(track.mesh.points)
    squares = []
    for path in paths.values():
        if len(path) > info.frame_count // 2:
            points = np.stack(path)[:, :, :2]
            size = float(np.ptp(points, axis=1).max(axis=1).mean())
            squares.append(float((np.diff(points, 2, axis=0) ** 2).mean()) / size**2)
    return float(np.sqrt(np.mean(squares))) if squares else float("nan")


def repeated(film: Path, times: int, out: Path) -> FilmInfo:
    """The film several times over, its packets copied."""
    info = probe_film(film)
    with av.open(str(out), "w") as output:
        stream: Any = None
        for turn in range(times):
            with av.open(str(film)) as source:
                video: Any = source.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.size:
                        shift = turn * (info.end_pts - info.start_pts)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        output.mux_one(packet)
    return probe_film(out)


def peak_memory_mb(film: Path, times: int) -> float:
    """Of a process that swaps the film, repeated so often, as one segment."""
    command = [sys.executable, "-m", "benchmarks.face_video", "--memory-of", str(film), "--times", str(times)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _memory_of(film: Path, times: int) -> float:
    swapper = _load()
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.mp4"
        info = repeated(film, times, long)
        swap_segment(swapper, long, Path(folder) / "out.nut", [source_person(swapper)], info=info, marker=MARKER)
    return _peak_of_this_process_mb()


def _peak_of_this_process_mb() -> float:
    """Not `ru_maxrss`: that begins with the memory of the process that started this one."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return float(line.split()[1]) / 1024


def measure(swapper: FaceSwapper, video: Path | None = None, *, seconds: float = 4.0) -> dict[str, float]:
    """All figures of films, by name.

    Args:
        video: a film with faces; its own figures are added, and trembling is measured on it instead.
        seconds: length of the synthetic films.
    """
    person = source_person(swapper)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed(swapper, person, synthetic(swapper, 480, 1, seconds), folder)  # compiles, fills caches
        for height_px in HEIGHTS:
            for faces in (1, THREE_FACES):
                film = synthetic(swapper, height_px, faces, seconds)
                _log.info("%s", film.name)
                found = speed(swapper, person, film, folder)
                ending = f"{height_px}p" + ("" if faces == 1 else "_three_faces")
                figures[f"fps_{ending}"] = found.fps
                if faces == 1:
                    for part in ("processor", "decode", "swap", "encode"):
                        figures[f"{part}_ms_{ending}"] = getattr(found, f"{part}_ms")
        film = synthetic(swapper, 720, 1, seconds)
        for name, times_ms in zip(("", "_processor"), live_latencies_ms(swapper, person, film), strict=True):
            for share in (50, 95):
                figures[f"live{name}_p{share}_ms"] = float(np.percentile(times_ms, share))
        if video is not None:
            figures["fps_video"] = speed(swapper, person, video, folder).fps
            film = video
        speed(swapper, person, film, folder)
        figures["jitter_target"] = jitter(swapper, film)
        figures["jitter_ratio"] = jitter(swapper, folder / "joined.mp4") / figures["jitter_target"]
        for times in MEMORY_TIMES:
            _log.info("memory, %.0f s", times * seconds)
            figures[f"peak_memory_mb_{times * seconds:.0f}s"] = peak_memory_mb(
                synthetic(swapper, 720, 1, seconds), times
            )
    figures["peak_memory_mb"] = figures[f"peak_memory_mb_{MEMORY_TIMES[-1] * seconds:.0f}s"]
    return figures


def _load() -> FaceSwapper:
    cv2.setNumThreads(1)
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir), threads=1)
    swapper.warm_up()
    return swapper


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="a film with faces")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the synthetic films")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if options.memory_of is not None:
        print(round(_memory_of(options.memory_of, options.times), 1))
        return 0
    figures: dict[str, Any] = {
        key: round(value, 4) for key, value in measure(_load(), options.video, seconds=options.seconds).items()
    }
    figures["machine"] = describe_machine()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
