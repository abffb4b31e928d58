"""The film of the demonstration: a camera that moves over a still picture, and a tone. Made anew each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from likeness._demo.pictures import DemoPicture

FRAME_RATE: Final = 24
SAMPLE_RATE_HZ: Final = 48_000
TONE_HZ: Final = 220.0
ZOOM, PAN, ROLL_DEG = 0.15, 0.06, 6.0  # of the camera: share, share of the frame, degrees


def make_film(picture: DemoPicture, path: Path, *, seconds: float = 2.0, side_px: int = 384) -> int:
    """Writes an MP4 (H.264, AAC) of `side_px` x `side_px` pixels; how many pictures it has.

    The camera swings once from side to side, comes nearer, and rolls.
    """
    still = picture.pixels()
    count = round(seconds * FRAME_RATE)
    with av.open(str(path), "w", format="mp4") as output:
        video: Any = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": "20", "preset": "veryfast"})
        video.width = video.height = side_px
        video.pix_fmt = "yuv420p"
        audio: Any = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(look(still, number / count, side_px), format="bgr24")
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        times_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tone = (0.1 * np.sin(2 * np.pi * TONE_HZ * times_s)).astype(np.float32)
        sound: Any = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = SAMPLE_RATE_HZ, 0
        output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
    return count


def look(still: NDArray[np.uint8], moment: float, side_px: int) -> NDArray[np.uint8]:
    """What the camera sees of a picture (H, W, 3) at a moment from 0 to 1: (side_px, side_px, 3)."""
    height, width = still.shape[:2]
    swing = np.sin(2 * np.pi * moment)
    scale = side_px / min(height, width) * (1.0 + ZOOM * (1.0 - np.cos(2 * np.pi * moment)) / 2.0 + 2 * PAN)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), ROLL_DEG * swing, scale)
    matrix[:, 2] += side_px / 2 - np.array([width / 2, height / 2]) + (PAN * side_px * swing, 0.0)
    seen = cv2.warpAffine(still, matrix, (side_px, side_px), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.uint8)


def some_frames(path: Path, count: int) -> list[NDArray[np.uint8]]:
    """`count` pictures of a film (at least 1), evenly spread: BGR, shape (height, width, 3)."""
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="bgr24") for frame in film.decode(video=0)]
    return [np.asarray(frames[int(at)], np.uint8) for at in np.linspace(0, len(frames) - 1, count)]
