"""The policy: which consents are enough for what, and what is refused whatever the consent.

A file in YAML or JSON (setting `consent_policy`), or the JSON itself; without one the built-in policy holds, which asks
for a consent of any kind. A policy that cannot be read in full keeps the gateway from starting: a misspelt rule would
be no rule. Likenesses of minors and sexual use are refused under every policy; a policy can only refuse more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.common.errors import LikenessError
from services.gateway.consents.terms import SEXUAL, names_one_of

Kind = Literal["spoken", "filmed", "attested", "synthetic"]
PolicyUse = Literal["speech", "swap"]
Term = Annotated[str, StringConstraints(min_length=2, max_length=100, strip_whitespace=True)]
Label = Annotated[str, StringConstraints(min_length=2, max_length=80, pattern=r"^[ -~]+$")]  # what a stage can write
_ENOUGH: Final[dict[PolicyUse, list[Kind]]] = {
    "speech": ["spoken", "attested", "synthetic"],
    "swap": ["filmed", "attested", "synthetic"],
}
POLICY: Final = "consent_policy"  # where a database session carries it


class PolicyError(Exception):
    """The policy cannot be read; the message is one line that says where and why."""


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Attested(_Rules):
    """What an attested consent needs."""

    document: bool = Field(default=False, description="A signed document, uploaded and named by the consent.")
    scope: bool = Field(default=False, description="A key with the scope `attest`; `admin` alone is not enough.")


class SafetyClassifier(_Rules):
    """A picture classifier of the operator's, in ONNX: RGB in, a score for each class out.

    Pictures are squeezed to the size, divided by 255, then normalised by mean and deviation of each channel.
    """

    model: str = Field(min_length=1, description="Path of the ONNX file.")
    size_px: int = Field(default=224, ge=8, le=2048)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: tuple[float, float, float] = Field(default=(0.0, 0.0, 0.0), strict=False)
    deviation: tuple[float, float, float] = Field(default=(1.0, 1.0, 1.0), strict=False)
    softmax: bool = Field(default=False, description="The model's output are logits.")
    refused_classes: list[int] = Field(min_length=1, description="Indices of what is refused.")
    threshold: float = Field(default=0.5, gt=0, le=1, description="Refused from this sum of their scores on.")
    frames: int = Field(default=12, ge=1, le=200, description="So many frames of a film are looked at.")


class Policy(_Rules):
    """Rules of one installation, for all its tenants."""

    version: Literal[1] = 1
    enough: dict[PolicyUse, list[Kind]] = Field(
        default_factory=lambda: dict(_ENOUGH),
        description="Which kinds of consent allow which use. A use that is not named is allowed by none.",
    )
    attested: Attested = Attested()
    max_age_days: dict[Kind, float] = Field(
        default_factory=dict, description="How old a consent may become, whatever it says itself; by kind."
    )
    minimum_age: int = Field(default=18, ge=18, le=120, description="Of a person with a known birthday.")
    adult_statement: bool = Field(default=False, description="A consent must state that the person is an adult.")
    protected_self_use: bool = Field(
        default=False,
        description="Who is protected may be cloned by the tenant that registered them, with a spoken or filmed "
        "consent of their own.",
    )
    purpose_required: bool = Field(default=False, description="Consents must say what the likeness is for.")
    refused_purposes: list[Term] = Field(
        default_factory=list, description="Words no purpose may name; sexual ones too."
    )
    refused_texts: list[Term] = Field(default_factory=list, description="Words no text to be spoken may contain.")
    visible_label: Label | None = Field(default=None, description="Stands in every picture and frame that is made.")
    spoken_notice: Label | None = Field(default=None, description="A sentence that begins every speech.")
    safety_classifier: SafetyClassifier | None = Field(
        default=None, description="Looks at face pictures, swap targets and frames of films, and must be there."
    )

    def require_kind(self, kind: str, use: str, *, field: str | None = None) -> None:
        """Raises LikenessError CONSENT_KIND_REFUSED unless this kind is enough for that use."""
        enough = self.enough.get(use, [])  # type: ignore[call-overload]
        if kind not in enough:
            named = ", ".join(enough) or "none"
            detail = f"The policy of this installation takes no {kind} consent for {use}; enough are: {named}."
            raise LikenessError("CONSENT_KIND_REFUSED", detail, field=field)

    def require_purpose(self, purpose: str | None, *, field: str = "purpose") -> None:
        """Raises LikenessError LIKENESS_REFUSED for a purpose that no consent allows."""
        named = None if purpose is None else names_one_of(purpose, (*SEXUAL, *self.refused_purposes))
        if named is not None:
            detail = f"No likeness is made or used for this purpose ({named!r}), whatever the consent."
            raise LikenessError("LIKENESS_REFUSED", detail, field=field)

    def require_text(self, text: str, *, field: str = "input") -> None:
        """Raises LikenessError LIKENESS_REFUSED for a text with a word of the policy's; built in there is none."""
        named = names_one_of(text, self.refused_texts)
        if named is not None:
            detail = f"The policy of this installation refuses texts with {named!r}."
            raise LikenessError("LIKENESS_REFUSED", detail, field=field)


def load_policy(setting: str) -> Policy:
    """The policy of a setting: empty, a path, or JSON.

    Raises:
        PolicyError: it cannot be read, or says something that is no rule.
    """
    if not setting.strip():
        return Policy()
    if setting.lstrip().startswith("{"):
        return _read(setting, "LIKENESS_CONSENT_POLICY")
    try:
        text = Path(setting).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"The consent policy {setting} cannot be read: {error}") from error
    return _read(text, setting)


def _read(text: str, name: str) -> Policy:
    try:
        content: Any = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        return Policy.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise PolicyError(f"The consent policy {name} is not valid at {where}: {first['msg']}.") from error
    except (ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise PolicyError(f"The consent policy {name} is neither JSON nor YAML: {said}") from error
