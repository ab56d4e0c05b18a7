"""Where the GGUF file of a section is: a path or a place on the hub, and its sha256."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from trim.configuration.section import invalid
from trim.engines.gguf import digest_of
from trim.engines.hub import PREFIX, HubFile
from trim.errors import InvalidInput


def parsed(given: Any) -> Any:
    if not isinstance(given, str) or not given.startswith(PREFIX):
        return given
    try:
        return HubFile.parse(given)
    except InvalidInput as error:
        raise invalid(str(error)) from None


def digest_in(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise invalid(f"{text!r}: must be 64 hexadecimal digits, as `sha256sum FILE` prints them")
    return text.lower()


ModelFile = Annotated[
    Path | HubFile, BeforeValidator(parsed), PlainSerializer(str, return_type=str)
]
Sha256 = Annotated[str, AfterValidator(digest_in)]


def local_path(file: Path | HubFile, sha256: str | None = None) -> Path:
    """The file on this machine, downloaded from the hub if it is not yet here.

    Args:
        sha256: that the file must have; None skips the check.

    Raises:
        InvalidInput: the hub does not deliver the file, or its sha256 differs.
        MissingExtra: the client of the hub, or llama.cpp, is not installed.
    """
    path = file.fetch() if isinstance(file, HubFile) else file
    if sha256 and (found := digest_of(path)) != sha256:
        # The client would link a file of its cache again as long as the bytes are there.
        repair = f"delete {path.resolve()} to fetch it again" if file != path else "fetch it again"
        raise InvalidInput(f"{file}: sha256 is {found}, not {sha256}; {repair}, or correct sha256")
    return path
