"""Checking a consent's receipt offline, with public keys that were fetched before. Needs the package `joserfc`."""

from __future__ import annotations

import json
from typing import Any, Final

ALGORITHM: Final = "Ed25519"
TYPE: Final = "likeness-consent-receipt+jwt"


class ReceiptError(Exception):
    """A receipt that is not genuine; the message says in one line why."""


def verify_receipt(receipt: str, keys: str) -> dict[str, Any]:
    """What a receipt says, when one of the keys has signed it. That the consent still holds it does not say.

    Args:
        receipt: the signed text, or the JSON in which the server sent it.
        keys: the JSON of `/.well-known/jwks.json`.

    Raises:
        ReceiptError: it was changed, is of another installation, or is no receipt.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    text = receipt.strip()
    try:
        if text.startswith("{"):
            text = str(json.loads(text)["receipt"])
        known = KeySet.import_key_set(json.loads(keys))
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ReceiptError("this is no receipt, or the keys are none") from error
    try:
        token = jwt.decode(text, known, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError) as error:
        raise ReceiptError("the receipt was changed, or another installation has signed it") from error
    if token.header.get("typ") != TYPE:
        raise ReceiptError("the text is signed, but it is no receipt of a consent")
    claims: dict[str, Any] = token.claims
    return claims
