"""The receipt of a finished shard: its size and hashes."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, Field

from fdsl.dataset.spec import SPLITS
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import Model, one_of, parse

MAX_BYTES = 2**12
"""Limit of a receipt's size."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Receipt(Model):
    """Proof of a finished shard.

    Attributes
    ----------
    shard : file name of the tar
    split : train or validation
    samples : number of images
    bytes : size of the tar
    sha256 : of the tar
    md5 : of the tar; only from versions before 0.2, to check their _info.json
    samples_sha256 : of the table of image parameters
    spec : hash of the dataset
    """

    shard: str = Field(pattern=r"^[a-z]+-\d{6}\.tar$")
    split: Annotated[str, AfterValidator(one_of(tuple(SPLITS)))]
    samples: Count
    bytes: Count
    sha256: Sha256
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    samples_sha256: Sha256
    spec: Sha256

    def to_json(self) -> str:
        """Return the content of the receipt's file."""
        return json.dumps(self.model_dump(exclude_none=True), indent=1) + "\n"


def parse_receipt(content: bytes, source: str) -> Receipt:
    """Return the receipt in a file's content.

    Parameters
    ----------
    source : the file's name in messages

    Raises
    ------
    InputError
        It is not a receipt.
    """
    try:
        return parse(Receipt, json.loads(content), "the receipt")
    except (ValueError, RecursionError) as error:
        raise InputError(f"`{source}` is not a readable receipt: {error}") from None
