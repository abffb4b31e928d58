"""What a person's proof leaves behind: who they are, as a vector, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Proof:
    """A task that was done as it was set.

    Attributes:
        template: of the person: a speaker's embedding (256,) of length 1, or a face descriptor (128,). Whoever keeps
            it seals it (`templates.seal`).
        measured: what the check measured, as JSON; goes into the consent and its receipt.
    """

    template: NDArray[np.float32]
    measured: dict[str, Any]
