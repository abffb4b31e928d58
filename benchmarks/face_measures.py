"""What is measured on a swapped face: pose, expression, seam, background. Identity is the recogniser's."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000

from services.faceswap.face_engine import Painted
from services.faceswap.geometry import Points, rotation_angle_deg
from services.faceswap.shape import head_pose
from services.faceswap.template import INNER_LIPS, LEFT_BROW, LEFT_EYE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE

Picture = NDArray[np.uint8]
EXPRESSIVE: Final = [*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW, *INNER_LIPS, *OUTER_LIPS]
IDENTICAL_PSNR_DB: Final = 100.0  # reported where not one pixel differs
SEAM_PX: Final = 2
BORDER_SHARE: Final = (0.02, 0.5)  # of the source, in the outer half of the blend


def pose_error_deg(result: Points, target: Points) -> float:
    """Angle between the heads of two meshes (468, 3)."""
    return rotation_angle_deg(head_pose(result).rotation @ head_pose(target).rotation.T)


def expression_error(result: Points, target: Points) -> float:
    """Mean distance of the points of eyes, brows and mouth, both heads turned to the front.

    The unit is the distance between the outer eye corners. What the two faces differ by in shape counts as well, so
    that the error is not zero for a perfect swap onto another face.
    """
    heads = [head_pose(points).apply(points)[EXPRESSIVE, :2] for points in (result, target)]
    return float(np.linalg.norm(heads[0] - heads[1], axis=1).mean())


def seam_ratio(result: Picture, target: Picture, painted: Painted) -> float:
    """Gradient of lightness along the border of the swapped face, over that of the target at the same place.

    1: no more edges than there were; above: a visible seam.
    """
    inside = (painted.alpha > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    border = np.zeros_like(inside)
    cv2.drawContours(border, contours, -1, 1, 2 * SEAM_PX + 1)
    gradients = []
    for picture in (result, target):
        part = picture[painted.region.rows, painted.region.columns]
        lightness = cv2.cvtColor(part, cv2.COLOR_BGR2LAB)[:, :, 0].astype(np.float32)
        dx, dy = (cv2.Scharr(lightness, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        gradients.append(float(np.hypot(dx, dy)[border > 0].mean()))
    return gradients[0] / max(gradients[1], 1e-6)


def colour_difference(result: Picture, target: Picture, painted: Painted) -> float:
    """Mean CIEDE2000 between result and target along the border of the swapped face; below 2 hardly anybody sees it."""
    rows, columns = painted.region.rows, painted.region.columns
    border = (painted.alpha > BORDER_SHARE[0]) & (painted.alpha < BORDER_SHARE[1])
    if not border.any():
        return 0.0
    labs = []
    for picture in (result, target):
        lab = cv2.cvtColor(picture[rows, columns].astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB)
        labs.append(lab[border])
    return float(deltaE_ciede2000(*labs).mean())  # type: ignore[no-untyped-call]


def background_psnr_db(result: Picture, target: Picture, painted: Painted) -> float:
    """Peak signal-to-noise ratio of the pixels that the swap says it has not touched."""
    untouched = np.ones(target.shape[:2], np.bool_)
    untouched[painted.region.rows, painted.region.columns] = ~painted.changed
    squared = (result[untouched].astype(np.float64) - target[untouched].astype(np.float64)) ** 2
    error = float(squared.mean()) if squared.size else 0.0
    return IDENTICAL_PSNR_DB if error == 0 else min(IDENTICAL_PSNR_DB, 10.0 * float(np.log10(255.0**2 / error)))
