"""The two loops over pixels of the mesh engine: the texture laid over a mesh, and the blend with the target.

Both work on the region alone, run without the interpreter's lock, and are compiled once and cached.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray

# Four bytes of a texel side by side in 64 bits, each with room for its product with a weight of up to 256.
EVEN_BYTES: Final = np.uint64(0x00FF00FF)
ODD_BYTES: Final = np.uint64(0xFF00FF00)
ALL_LANES: Final = np.uint64(0x00FF00FF00FF00FF)
HALVES: Final = np.uint64(0x0080008000800080)
WEIGHT_BITS: Final = 8  # of what is between texels
ONE: Final = 1 << WEIGHT_BITS
TOLERANCE: Final = np.float32(1e-4)  # of barycentric shares, so that no gap opens between triangles


@numba.njit(inline="always")
def _lanes(texel: Any) -> Any:
    wide = np.uint64(texel)
    return (wide & EVEN_BYTES) | ((wide & ODD_BYTES) << np.uint64(24))


@numba.njit(inline="always")
def _narrowed(slope: Any, offset: Any, first: Any, last: Any) -> Any:
    """The part of first..last in which slope * x + offset is not negative."""
    if slope > np.float32(1e-9):
        return max(first, -offset / slope), last
    if slope < np.float32(-1e-9):
        return first, min(last, -offset / slope)
    return first, (last if offset >= np.float32(0.0) else first - np.float32(1.0))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lay(
    points: FloatArray,
    triangles: NDArray[np.int32],
    at: FloatArray,
    texels: NDArray[np.uint32],
    side: int,
    width: int,
    height: int,
    out: NDArray[np.uint32],
    nearest: FloatArray,
) -> None:
    """`texels` (side * side), `out` and `nearest` (height * width) are flat."""
    zero, one = np.float32(0.0), np.float32(1.0)
    scale, half = np.float32(ONE), np.float32(0.5)
    most = np.int32((side - 1) * ONE - 1)
    below, right_of = np.uint64(side), np.uint64(1)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[i, 0], points[i, 1]
        bx, by = points[j, 0] - ax, points[j, 1] - ay
        cx, cy = points[k, 0] - ax, points[k, 1] - ay
        area = bx * cy - by * cx
        if area <= np.float32(1e-6):
            continue
        left = max(0, int(np.floor(ax + min(zero, bx, cx))))
        right = min(width - 1, int(np.ceil(ax + max(zero, bx, cx))))
        top = max(0, int(np.floor(ay + min(zero, by, cy))))
        bottom = min(height - 1, int(np.ceil(ay + max(zero, by, cy))))
        over = one / area
        # Shares of the second and the third corner, and what is interpolated by them: all linear in x and y.
        wb_x, wb_y, wc_x, wc_y = cy * over, -cx * over, -by * over, bx * over
        u0, v0, z0 = at[i, 0] * scale, at[i, 1] * scale, points[i, 2]
        ub, vb, zb = at[j, 0] * scale - u0, at[j, 1] * scale - v0, points[j, 2] - z0
        uc, vc, zc = at[k, 0] * scale - u0, at[k, 1] * scale - v0, points[k, 2] - z0
        u_x, u_y = ub * wb_x + uc * wc_x, ub * wb_y + uc * wc_y
        v_x, v_y = vb * wb_x + vc * wc_x, vb * wb_y + vc * wc_y
        z_x, z_y = zb * wb_x + zc * wc_x, zb * wb_y + zc * wc_y
        for y in range(top, bottom + 1):
            dy = np.float32(y) - ay
            wb, wc = dy * wb_y, dy * wc_y
            first, last = np.float32(left) - ax, np.float32(right) - ax
            first, last = _narrowed(wb_x, wb + TOLERANCE, first, last)
            first, last = _narrowed(wc_x, wc + TOLERANCE, first, last)
            first, last = _narrowed(-wb_x - wc_x, one + TOLERANCE - wb - wc, first, last)
            if last < first:
                continue
            u_row, v_row, z_row = u0 + dy * u_y + half, v0 + dy * v_y + half, z0 + dy * z_y
            for x in range(max(left, int(np.ceil(first + ax))), min(right, int(np.floor(last + ax))) + 1):
                dx = np.float32(x) - ax
                z = z_row + dx * z_x
                pixel = np.uint64(y * width + x)
                if z >= nearest[pixel]:
                    continue
                nearest[pixel] = z
                u = min(max(np.int32(u_row + dx * u_x), np.int32(0)), most)
                v = min(max(np.int32(v_row + dx * v_x), np.int32(0)), most)
                fu, fv = np.uint64(u & (ONE - 1)), np.uint64(v & (ONE - 1))
                w11 = (fu * fv + np.uint64(ONE // 2)) >> np.uint64(WEIGHT_BITS)
                texel = np.uint64(v >> WEIGHT_BITS) * below + np.uint64(u >> WEIGHT_BITS)
                mixed = (
                    _lanes(texels[texel]) * (np.uint64(ONE) - fu - fv + w11)
                    + _lanes(texels[texel + right_of]) * (fu - w11)
                    + _lanes(texels[texel + below]) * (fv - w11)
                    + _lanes(texels[texel + below + right_of]) * w11
                    + HALVES
                )
                mixed = (mixed >> np.uint64(WEIGHT_BITS)) & ALL_LANES
                out[pixel] = np.uint32(mixed | (mixed >> np.uint64(24)))


def with_share(texture: NDArray[np.uint8], share: FloatArray) -> NDArray[np.uint8]:
    """A texture (m, m, 4) whose fourth channel is `share` (k, k), 0 to 1, laid out like it; 255 is all."""
    side = texture.shape[0]
    fine: Any = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
    packed = texture.copy()
    packed[:, :, 3] = np.rint(np.float32(255.0) * fine)
    return packed


def lay_texture(
    points: FloatArray,
    triangles: NDArray[np.int32],
    at: FloatArray,
    texture: NDArray[np.uint8],
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """A texture on a mesh, the nearest surface in front.

    Args:
        points: (n, 3), pixels; smaller z is nearer.
        triangles: (t, 3), clockwise on the screen when seen from the front; others are left out.
        at: (n, 2), where the points lie on the texture, in its texels.
        texture: (m, m, 4), contiguous.

    Returns:
        (height, width, 4) uint8, 0 outside of the mesh.
    """
    out = np.zeros(height * width, np.uint32)
    nearest = np.full(height * width, np.inf, np.float32)
    _lay(
        np.ascontiguousarray(points, np.float32),
        triangles,
        np.ascontiguousarray(at, np.float32),
        texture.reshape(-1).view(np.uint32),
        texture.shape[0],
        width,
        height,
        out,
        nearest,
    )
    return out.view(np.uint8).reshape(height, width, 4)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _blend(around: Picture, laid: NDArray[np.uint8], fields: FloatArray, out: Picture, alpha: FloatArray) -> None:
    half, most = np.float32(0.5), np.float32(255.0)
    for y in range(laid.shape[0]):
        for x in range(laid.shape[1]):
            share = np.float32(laid[y, x, 3]) * fields[y, x, 3] * np.float32(1.0 / 255.0)
            if share <= np.float32(0.002):
                alpha[y, x] = np.float32(0.0)
                for c in range(3):
                    out[y, x, c] = around[y, x, c]
                continue
            alpha[y, x] = share
            for c in range(3):
                lit = min(np.float32(laid[y, x, c]) * fields[y, x, c], most)
                below = np.float32(around[y, x, c])
                out[y, x, c] = np.uint8(below + share * (lit - below) + half)


def blend(around: Picture, laid: NDArray[np.uint8], fields: FloatArray) -> tuple[Picture, FloatArray]:
    """The laid texture in its new light over the target.

    Args:
        around: BGR (h, w, 3), the target.
        laid: (h, w, 4), from `lay_texture`.
        fields: (h, w, 4): factors of light for B, G and R, and the share of the source, 0 to 1.

    Returns:
        Pixels (h, w, 3), equal to `around` where the source has no share, and the share (h, w).
    """
    out = np.empty_like(around)
    alpha = np.empty(around.shape[:2], np.float32)
    _blend(np.ascontiguousarray(around), laid, np.ascontiguousarray(fields, np.float32), out, alpha)
    return out, alpha
