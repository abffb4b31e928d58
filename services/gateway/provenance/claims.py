"""What a manifest says of an output: how it came to be, with whose consent, under which number, made of what.

No name of a person is in it: the consent's id leads those who may know to the record. The assertion
`org.likeness.provenance` is this project's own; the others are those of the C2PA specification, 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

OutputKind = Literal["speech", "picture", "film"]
Relationship = Literal["parentOf", "componentOf", "inputTo"]
PROVENANCE_LABEL: Final = "org.likeness.provenance"
SPEECH_SOURCE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SWAP_SOURCE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_MARK_ALGORITHMS: Final[Mapping[OutputKind, str]] = {
    "speech": "org.likeness.mark.audio",
    "picture": "org.likeness.mark.picture",
    "film": "org.likeness.mark.film",
}


@dataclass(frozen=True)
class Ingredient:
    """What an output was made of, by its hash.

    Args:
        content: the file itself, where it is at hand: when it has a manifest of its own, that goes into the new one.
    """

    sha256: str
    content_type: str
    relationship: Relationship = "parentOf"
    content: bytes | Path | None = None


@dataclass(frozen=True)
class OutputClaim:
    """What is said of one output.

    Args:
        mark: the number that it carries invisibly, 1 to 2**32 - 1.
        models: versions by the model's name.
        ingredients: of a swap the target, as parent.
    """

    kind: OutputKind
    job_id: str
    consent_id: str
    mark: int
    models: Mapping[str, str] = field(default_factory=dict)
    ingredients: tuple[Ingredient, ...] = ()
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def source_type(self) -> str:
        return SPEECH_SOURCE if self.kind == "speech" else SWAP_SOURCE


def manifest_definition(claim: OutputClaim, content_type: str) -> dict[str, Any]:
    """The manifest as C2PA's builder takes it, without what is only known of the file itself."""
    assertions = {
        "c2pa.actions.v2": {"actions": _actions(claim), "allActionsIncluded": True},
        "c2pa.soft-binding": {
            "alg": _MARK_ALGORITHMS[claim.kind],
            "blocks": [{"scope": {}, "value": f"{claim.mark:08x}"}],
            "pad": "",
        },
        PROVENANCE_LABEL: {
            "job": claim.job_id,
            "consent": claim.consent_id,
            "mark": claim.mark,
            "kind": claim.kind,
            "models": dict(claim.models),
            "ingredients": [
                {"sha256": item.sha256, "relationship": item.relationship, "format": item.content_type}
                for item in claim.ingredients
            ],
        },
    }
    return {
        "claim_generator_info": [_generator()],
        "title": claim.job_id,
        "format": content_type,
        "ingredients": [
            ingredient_definition(item, number) for number, item in enumerate(claim.ingredients) if not item.content
        ],
        "assertions": [{"label": label, "created": True, "data": data} for label, data in assertions.items()],
    }


def ingredient_definition(ingredient: Ingredient, number: int) -> dict[str, Any]:
    """One ingredient as C2PA's builder takes it; `number` is its place in the claim."""
    return {
        "title": "target" if ingredient.relationship == "parentOf" else "source",
        "format": ingredient.content_type,
        "relationship": ingredient.relationship,
        "instance_id": f"urn:sha256:{ingredient.sha256}",
        "label": _ingredient_label(number),
    }


def _actions(claim: OutputClaim) -> list[dict[str, Any]]:
    """Made from nothing; or opened, where there is a parent, and edited."""
    made = {
        "when": claim.created_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "digitalSourceType": claim.source_type,
        "softwareAgent": _generator(),
    }
    labels = {"parentOf": [], "componentOf": [], "inputTo": []}  # type: dict[str, list[str]]
    for number, ingredient in enumerate(claim.ingredients):
        labels[ingredient.relationship].append(_ingredient_label(number))
    actions: list[dict[str, Any]] = []
    if labels["parentOf"]:
        actions.append({"action": "c2pa.opened", "parameters": {"ingredientIds": labels["parentOf"]}})
        actions.append({"action": "c2pa.edited", **made})
    else:
        actions.append({"action": "c2pa.created", **made})
    if labels["componentOf"]:
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": labels["componentOf"]}})
    return actions


@cache
def _generator() -> dict[str, str]:
    return {"name": "Likeness", "version": version("likeness")}


def _ingredient_label(number: int) -> str:
    return f"ingredient_{number}"
