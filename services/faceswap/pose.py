"""How a head is turned, in angles that people understand, from the mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.faceswap.geometry import Points
from services.faceswap.shape import head_pose


@dataclass(frozen=True)
class HeadAngles:
    """Degrees; all zero is a head that looks straight into the camera.

    The head is first rolled, then pitched, then turned.

    Attributes:
        yaw: positive to the person's own left, which is the picture's right.
        pitch: positive upwards.
        roll: positive towards the person's own left shoulder, which is clockwise in the picture.
    """

    yaw: float
    pitch: float
    roll: float


def head_angles(points: Points) -> HeadAngles:
    """The angles of a mesh (468, 3) in pixels."""
    return angles_of(head_pose(points).rotation.T)


def angles_of(rotation: Points) -> HeadAngles:
    """The angles of a rotation (3, 3) from the template's frame (x right, y down, z away) to the picture's."""
    yaw = np.arctan2(-rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1.0, 1.0))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return HeadAngles(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))
