"""Triangles to dense maps: for every pixel, the values of the mesh at that place.

Values at the corners are interpolated linearly within each triangle, which for coordinates is the piecewise-affine
warp. Triangles seen from behind are left out, and where several cover a pixel the nearest one wins.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.litert import FloatArray


@numba.njit(cache=True, nogil=True)
def _rasterise(
    points: FloatArray,
    triangles: NDArray[np.int32],
    values: FloatArray,
    out: FloatArray,
    owner: NDArray[np.int32],
    nearest: FloatArray,
) -> None:
    height, width = owner.shape
    channels = values.shape[1]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= np.float32(1e-6):
            continue
        left = max(0, int(np.floor(min(ax, bx, cx))))
        right = min(width - 1, int(np.ceil(max(ax, bx, cx))))
        top = max(0, int(np.floor(min(ay, by, cy))))
        bottom = min(height - 1, int(np.ceil(max(ay, by, cy))))
        wb_x, wb_y = (cy - ay) / area, (ax - cx) / area
        wc_x, wc_y = (ay - by) / area, (bx - ax) / area
        for y in range(top, bottom + 1):
            dy = np.float32(y) - ay
            for x in range(left, right + 1):
                dx = np.float32(x) - ax
                wb = dx * wb_x + dy * wb_y
                wc = dx * wc_x + dy * wc_y
                wa = np.float32(1.0) - wb - wc
                if min(wa, wb, wc) < np.float32(-1e-5):
                    continue
                z = az + wb * (bz - az) + wc * (cz - az)
                if z < nearest[y, x]:
                    nearest[y, x] = z
                    owner[y, x] = t
                    for c in range(channels):
                        first = values[i, c]
                        out[y, x, c] = first + wb * (values[j, c] - first) + wc * (values[k, c] - first)


def rasterise(
    points: FloatArray, triangles: NDArray[np.int32], values: FloatArray, height: int, width: int
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Spreads values given at mesh points over the pixels that the mesh covers.

    Args:
        points: (n, 3); x and y in pixels (whole numbers are pixel centres), smaller z is nearer.
        triangles: (t, 3), indices of corners; clockwise on the screen (y down) means seen from the front.
        values: (n, c).

    Returns:
        The dense map (height, width, c), 0 where nothing is, and the triangle at every pixel (height, width), -1
        where there is none.
    """
    out = np.zeros((height, width, values.shape[1]), np.float32)
    owner = np.full((height, width), -1, np.int32)
    nearest = np.full((height, width), np.inf, np.float32)
    _rasterise(
        np.ascontiguousarray(points, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        np.ascontiguousarray(values, np.float32),
        out,
        owner,
        nearest,
    )
    return out, owner
