"""The two loops over pixels of the mesh engine: the texture laid over a mesh, and the blend with the target.

Both work on the region alone, run without the interpreter's lock, and are compiled once and cached.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lay(
    points: FloatArray,
    triangles: NDArray[np.int32],
    at: FloatArray,
    texture: NDArray[np.uint8],
    share: FloatArray,
    share_scale: np.float32,
    out: NDArray[np.uint8],
    nearest: FloatArray,
) -> None:
    height, width = nearest.shape
    most = np.float32(texture.shape[0] - 1.001)
    most_share = np.float32(share.shape[0] - 1.001)
    zero, half = np.float32(0.0), np.float32(0.5)
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
        over = np.float32(1.0) / area
        wb_x, wb_y, wc_x, wc_y = cy * over, -cx * over, -by * over, bx * over
        u0, v0, z0 = at[i, 0], at[i, 1], points[i, 2]
        ub, vb, zb = at[j, 0] - u0, at[j, 1] - v0, points[j, 2] - z0
        uc, vc, zc = at[k, 0] - u0, at[k, 1] - v0, points[k, 2] - z0
        for y in range(top, bottom + 1):
            dy = np.float32(y) - ay
            for x in range(left, right + 1):
                dx = np.float32(x) - ax
                wb = dx * wb_x + dy * wb_y
                wc = dx * wc_x + dy * wc_y
                if wb < np.float32(-1e-4) or wc < np.float32(-1e-4) or wb + wc > np.float32(1.0001):
                    continue
                z = z0 + wb * zb + wc * zc
                if z >= nearest[y, x]:
                    continue
                nearest[y, x] = z
                u = min(max(u0 + wb * ub + wc * uc, zero), most)
                v = min(max(v0 + wb * vb + wc * vc, zero), most)
                column, row = int(u), int(v)
                fu, fv = u - np.float32(column), v - np.float32(row)
                w11 = fu * fv
                w01, w10 = fu - w11, fv - w11
                w00 = np.float32(1.0) - fu - fv + w11
                for c in range(3):
                    value = (
                        w00 * np.float32(texture[row, column, c])
                        + w01 * np.float32(texture[row, column + 1, c])
                        + w10 * np.float32(texture[row + 1, column, c])
                        + w11 * np.float32(texture[row + 1, column + 1, c])
                    )
                    out[y, x, c] = np.uint8(value + half)
                u = min(max((u + half) * share_scale - half, zero), most_share)
                v = min(max((v + half) * share_scale - half, zero), most_share)
                column, row = int(u), int(v)
                fu, fv = u - np.float32(column), v - np.float32(row)
                upper = share[row, column] + fu * (share[row, column + 1] - share[row, column])
                lower = share[row + 1, column] + fu * (share[row + 1, column + 1] - share[row + 1, column])
                out[y, x, 3] = np.uint8(np.float32(255.0) * (upper + fv * (lower - upper)) + half)


def lay_texture(
    points: FloatArray,
    triangles: NDArray[np.int32],
    at: FloatArray,
    texture: NDArray[np.uint8],
    share: FloatArray,
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """A texture on a mesh, the nearest surface in front.

    Args:
        points: (n, 3), pixels; smaller z is nearer.
        triangles: (t, 3), clockwise on the screen when seen from the front; others are left out.
        at: (n, 2), where the points lie on the texture, in its texels.
        texture: (m, m, 4), of which the first three channels are read.
        share: (k, k), 0 to 1, laid out like the texture; becomes the fourth channel.

    Returns:
        (height, width, 4) uint8, 0 outside of the mesh.
    """
    out = np.zeros((height, width, 4), np.uint8)
    nearest = np.full((height, width), np.inf, np.float32)
    scale = np.float32(share.shape[0] / texture.shape[0])
    _lay(
        np.ascontiguousarray(points, np.float32),
        triangles,
        np.ascontiguousarray(at, np.float32),
        texture,
        share,
        scale,
        out,
        nearest,
    )
    return out


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
