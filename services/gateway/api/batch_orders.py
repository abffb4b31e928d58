"""The requests of a batch's lines as orders, and as items."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import LikenessError
from services.gateway.api.batch_lines import Findings, Line
from services.gateway.api.models import MODEL_IDS
from services.gateway.api.speech import SpeechIn, speech_order
from services.gateway.api.swap_form import SwapIn
from services.gateway.batches.items import ItemMaker
from services.gateway.batches.records import BatchItem
from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.film_jobs import FilmOrder
from services.gateway.swap import SwapOrder
from services.gateway.uploads import film_content_type, first_bytes


def make_items(gateway: Gateway, tenant: str, lines: Sequence[Line], found: Findings) -> list[BatchItem]:
    """Items of the lines whose voices, faces, consents and media are there; what is wrong is added to `found`."""
    items = []
    with gateway.database.session() as session:
        maker = ItemMaker(gateway, tenant, session)
        for line in lines:
            try:
                items.append(_item(maker, line))
            except LikenessError as error:
                found.add(line.number, "body" + (f".{error.field}" if error.field else ""), error.detail)
    return items


def _item(maker: ItemMaker, line: Line) -> BatchItem:
    body = line.body
    if isinstance(body, SpeechIn):
        if body.model not in MODEL_IDS:
            raise LikenessError("NOT_FOUND", f"There is no model {body.model!r}.", field="model")
        return maker.speech(line.custom_id, speech_order(body, queued=True))
    return _swap(maker, line.custom_id, body)


def _swap(maker: ItemMaker, custom_id: str, body: SwapIn) -> BatchItem:
    if body.target_media is None:
        raise LikenessError("INVALID_FIELD", "Name the picture or film that is here already.", field="target_media")
    target = maker.media(body.target_media)
    film_type = _film_type(maker.gateway, target)
    if film_type is not None:
        options = body.film_options(film_type)
        return maker.film(
            custom_id, FilmOrder(body.orders(), None, film_type, target, body.painting(), options), target
        )
    if not target.content_type.startswith("image/"):
        raise LikenessError("INVALID_FIELD", f"{target.id} is neither picture nor film.", field="target_media")
    order = SwapOrder(body.orders(), None, target.id, body.painting(), body.picture_format())
    return maker.picture(custom_id, order, target)


def _film_type(gateway: Gateway, media: Media) -> str | None:
    if media.content_type.startswith("video/"):
        return media.content_type
    if media.content_type not in ("image/gif", "image/webp"):
        return None
    with gateway.store.fetch(media.key) as path, path.open("rb") as file:
        return film_content_type(first_bytes(file))
