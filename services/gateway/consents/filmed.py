"""A filmed consent: a short film in which one person turns their head as they were just asked to.

What is caught: another order of turns, so any film made before the task was set (but for 1 in 256); a still picture,
however it is moved or held aslant; a cut film; somebody else in between; a film that was used before; a film that
carries this installation's own mark. What is not: a mask, a picture rendered in three dimensions, or a face that other
software swaps onto somebody who does the turns. Where that matters, a policy asks for an attested consent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.marking.film import find_film_mark
from services.gateway.consents.film_replays import FILM_SHA256, TRACK, TURNS, file_sha256, require_new, turns_key
from services.gateway.consents.film_samples import look_at_film, pose_track
from services.gateway.consents.head_turns import Turn, require_turns
from services.gateway.consents.one_take import SAME_PERSON, require_one_person, require_one_take
from services.gateway.consents.proof import Proof
from services.gateway.consents.templates import context_of, unseal
from services.gateway.context import Gateway
from services.gateway.db import Consent
from services.gateway.stages import Call

FIELD: Final = "film"


def verify_filmed(gateway: Gateway, path: Path, turns: Sequence[Turn], call: Call, *, field: str = FIELD) -> Proof:
    """Checks a film against the turns that were asked for; the proof's template is the person's descriptor (128,).

    That the task is this person's, fresh and unused is its challenge's business.

    Args:
        call: with a grant to enrol.

    Raises:
        LikenessError: MEDIA_*; PROOF_UNUSABLE, PROOF_TASK_FAILED, PROOF_NOT_LIVE, PROOF_SPLICED, PROOF_REPLAYED,
            PROOF_SYNTHETIC; FACE_TOO_SMALL; and what the stage failed with. All name `field`.
    """
    sha256 = file_sha256(path)
    with gateway.database.session() as session:
        require_new(session, sha256, turns, np.zeros((0, 2)), field=field)
    seen = look_at_film(gateway.stages, path, call, field=field)
    _require_unmarked(gateway, path, field)
    require_one_take(seen, field=field)
    identity = require_one_person(seen.samples, field=field)
    made = require_turns(seen.samples, turns, field=field)
    track = list(pose_track(seen.samples))
    with gateway.database.session() as session:
        require_new(session, sha256, turns, np.array(track), field=field)
    measured = {
        FILM_SHA256: sha256,
        TURNS: turns_key(turns),
        "film_seconds": round(seen.duration_s, 2),
        "samples": len(seen.samples),
        "made": [turn.to_json() for turn in made],
        "largest_distance": round(identity.largest_distance, 3),
        TRACK: [list(pose) for pose in track],
    }
    return Proof(identity.descriptor, measured)


def require_consenting_face(
    gateway: Gateway, consent: Consent, descriptors: Sequence[NDArray[np.float32]], *, field: str
) -> None:
    """A face's pictures must be of who was filmed.

    Args:
        descriptors: (128,) of each picture.

    Raises:
        LikenessError: CONSENT_FACE_MISMATCH; TEMPLATE_UNREADABLE.
    """
    template = unseal(gateway.keys.templates, consent.template or b"", context_of(consent.id, consent.subject))
    for number, descriptor in enumerate(descriptors, start=1):
        distance = float(np.linalg.norm(descriptor - template))
        if not distance <= SAME_PERSON:
            which = "The picture" if len(descriptors) == 1 else f"Picture {number}"
            detail = (
                f"{which} does not look like the person who was filmed for the consent (distance {distance:.2f}, at "
                f"most {SAME_PERSON:.2f} is allowed). Send pictures of that person, from the front and well lit."
            )
            raise LikenessError("CONSENT_FACE_MISMATCH", detail, field=field)


def _require_unmarked(gateway: Gateway, path: Path, field: str) -> None:
    """A film that was swapped here is nobody's proof."""
    found = find_film_mark(path, gateway.keys.mark, field=field)
    if found is not None:
        detail = "The film carries the mark of what is made here. Film the person, without any change to the picture."
        raise LikenessError("PROOF_SYNTHETIC", detail, field=field)
