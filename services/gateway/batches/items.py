"""Requests of a batch become items: voices, faces, consents and media are looked up, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, AssignmentOrder, assign
from services.gateway.batches.records import BatchItem
from services.gateway.context import Gateway
from services.gateway.db import Media, Voice, find, find_named
from services.gateway.film import FilmOptions
from services.gateway.film_jobs import FilmOrder, check_film, film_parameters
from services.gateway.protected.refusal import require_usable
from services.gateway.speech import SpeechOrder
from services.gateway.speech_jobs import speech_parameters
from services.gateway.swap import SwapOrder, swap_parameters


@dataclass
class ItemMaker:
    """Makes items of one tenant's requests. What many of them name is looked up once.

    All methods raise LikenessError: NOT_FOUND, CONSENT_*, INVALID_FIELD, MEDIA_*.
    """

    gateway: Gateway
    tenant: str
    session: Session
    _known: dict[Any, Any] = field(default_factory=dict)

    def speech(self, custom_id: str, order: SpeechOrder) -> BatchItem:
        voice_id, consent_id = self._once(("voice", order.voice), lambda: self._voice(order.voice))
        return BatchItem(custom_id, "speech", consent_id, voice_id, speech_parameters(order))

    def picture(self, custom_id: str, order: SwapOrder, target: Media) -> BatchItem:
        assignments = self._assignments(order.assignments)
        parameters = swap_parameters(assignments, order) | {"target_uploaded": False}
        return self._swap(custom_id, assignments, parameters, target)

    def film(self, custom_id: str, order: FilmOrder, target: Media) -> BatchItem:
        assignments = self._assignments(order.assignments)
        self._once(("film", target.id, order.options), lambda: self._check_film(target, order.options))
        return self._swap(custom_id, assignments, film_parameters(assignments, order), target)

    def media(self, media_id: str) -> Media:
        found: Media = self._once(
            ("media", media_id),
            lambda: find(self.session, Media, self.tenant, media_id, what="media", field="target_media"),
        )
        return found

    def _once(self, key: Any, look: Callable[[], Any]) -> Any:
        """What `look` returns, or the failure that it raised the first time."""
        if key not in self._known:
            try:
                self._known[key] = look()
            except LikenessError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, LikenessError):
            raise LikenessError(found.reason, found.detail, field=found.field)
        return found

    def _voice(self, reference: str) -> tuple[str, str]:
        voice = find_named(self.session, Voice, self.tenant, reference, what="voice", field="voice")
        consent = require_usable(self.gateway, self.session, voice, field="voice")
        return voice.id, consent.id

    def _assignments(self, orders: Sequence[AssignmentOrder]) -> list[Assignment]:
        found: list[Assignment] = self._once(
            ("assignments", *orders), lambda: assign(self.gateway, self.tenant, orders)
        )
        return found

    def _check_film(self, target: Media, options: FilmOptions) -> None:
        with self.gateway.store.fetch(target.key) as path:
            check_film(path, options, "target_media")

    @staticmethod
    def _swap(custom_id: str, assignments: list[Assignment], parameters: dict[str, Any], target: Media) -> BatchItem:
        first = assignments[0]
        return BatchItem(custom_id, "swap", first.consents[0], first.face, parameters, target.id)
