"""Bytes of a picture file -> upright BGR pixels, for files that nobody vouches for, and back.

The header is read first (`picture_header`), so that a few bytes that claim a gigantic picture are refused before
anything is allocated. Transparency is laid over white; 16-bit and grey pictures become 8-bit BGR.
Colour profiles are not applied.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.picture_header import PictureHeader, picture_kind, read_header

MAX_FILE_BYTES: Final = 50 * 1024 * 1024
MAX_PIXELS: Final = 64_000_000
MAX_SIDE_PX: Final = 16_384
STRIPE_ROWS: Final = 256
SUPPORTED: Final = "PNG, JPEG, WebP and BMP"

PictureFormat = Literal["png", "jpeg", "webp"]
Pixels = NDArray[np.uint8]


def _read_checked_header(data: bytes, field: str, max_pixels: int) -> PictureHeader:
    if not data:
        raise LikenessError("MEDIA_EMPTY", "The file has no content; a picture was expected.", field=field)
    if len(data) > MAX_FILE_BYTES:
        detail = f"The file has {len(data)} bytes; at most {MAX_FILE_BYTES} are accepted."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    kind = picture_kind(data)
    if kind not in ("png", "jpeg", "webp", "bmp"):
        detail = f"This is no picture that can be read: {kind or 'an unknown kind of file'}. Supported are {SUPPORTED}."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    header = read_header(data)
    if header is None or min(header.width_px, header.height_px) < 1:
        raise LikenessError("MEDIA_UNREADABLE", f"The header of the {kind} file is damaged.", field=field)
    if max(header.width_px, header.height_px) > MAX_SIDE_PX or header.width_px * header.height_px > max_pixels:
        detail = (
            f"The picture has {header.width_px} x {header.height_px} pixels; at most {max_pixels // 1_000_000} million "
            f"and {MAX_SIDE_PX} on a side are accepted. Send it smaller."
        )
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    if not header.complete:
        raise LikenessError("MEDIA_UNREADABLE", f"The {kind} file ends early; it was cut off.", field=field)
    return header


def _to_bgr(decoded: NDArray[Any]) -> Pixels:
    """8 or 16 bits, one to four channels -> uint8 BGR; may overwrite its argument."""
    if decoded.dtype == np.uint16:
        np.right_shift(decoded, 8, out=decoded)  # exact where 8 bits were widened by 257, and needs no second copy
    pixels = decoded.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    if pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return _over_white(pixels)


def _over_white(pixels: Pixels) -> Pixels:
    """Grey or BGR with alpha last, shape (H, W, 2 or 4) -> BGR; in stripes, since it works in 16 bits."""
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, pixels.shape[0], STRIPE_ROWS):
        stripe = pixels[top : top + STRIPE_ROWS].astype(np.uint16)
        colour, alpha = stripe[:, :, :-1], stripe[:, :, -1:]  # one channel of colour broadcasts to three
        result[top : top + STRIPE_ROWS] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return result


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Applies EXIF orientation 1 to 8 (CIPA DC-008, 4.6.4)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def decode_picture(data: bytes, *, field: str = "picture", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes a picture of at most `max_pixels` to BGR, shape (H, W, 3), uint8, upright.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_UNSUPPORTED, MEDIA_UNREADABLE or MEDIA_TOO_LARGE, naming `field`.
    """
    header = _read_checked_header(data, field, max_pixels)
    # JPEG has no alpha, and only IMREAD_COLOR converts CMYK; the others keep alpha and depth with IMREAD_UNCHANGED.
    kept = cv2.IMREAD_COLOR if header.container == "jpeg" else cv2.IMREAD_UNCHANGED
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), kept | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.shape[:2] != (header.height_px, header.width_px):
        detail = f"The {header.container} file is damaged and cannot be decoded."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field)
    return _upright(_to_bgr(decoded), header.orientation)


def encode_picture(bgr: Pixels, format: PictureFormat, quality: int = 95) -> bytes:
    """Encodes BGR pixels, shape (H, W, 3), uint8. `quality` 1 to 100 is for JPEG and WebP; PNG is lossless."""
    if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels of shape (H, W, 3), got {bgr.dtype} {bgr.shape}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must lie between 1 and 100, got {quality}")
    extension, options = {
        "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]),
        "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, quality]),
    }[format]
    done, encoded = cv2.imencode(extension, bgr, options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a {bgr.shape} picture as {format}")
    return bytes(encoded)
