"""Files on the Hugging Face hub, in the cache of its own client."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trim.errors import InvalidInput, require_packages

PREFIX = "hf:"
FORM = "hf:ORG/REPO/FILE or hf:ORG/REPO@REVISION/FILE"


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the hub; as text `FORM`, the order of the hub's own URIs.

    Attributes:
        repository: as `owner/name`.
        path: of the file in the repository, with its folders.
        revision: branch, tag or commit; None for the default branch.
    """

    repository: str
    path: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}/{self.path}"

    @staticmethod
    def parse(text: str) -> HubFile:
        """The file that a text names. Raises InvalidInput if the text has another form."""
        parts = text.removeprefix(PREFIX).split("/")
        if not text.startswith(PREFIX) or len(parts) < 3 or {"", ".", ".."} & set(parts):
            raise InvalidInput(f"{text!r}: a file on the hub must be {FORM}")
        organization, repository, *path = parts
        repository, at, revision = repository.partition("@")
        if not repository or bool(at) != bool(revision):
            raise InvalidInput(f"{text!r}: a file on the hub must be {FORM}")
        return HubFile(f"{organization}/{repository}", "/".join(path), revision or None)

    def fetch(self) -> Path:
        """The file in the client's cache, downloaded with a progress bar if it is not there.

        A cached file needs no network and stays as it is, even if its branch moves on.

        Raises:
            InvalidInput: the hub cannot be reached, refuses the file or has none such, the name is
                malformed, or the cache cannot be written.
            MissingExtra: the client of the hub, or llama.cpp, is not installed.
        """
        require_packages(f"{self}: a model file on the hub", "huggingface_hub", "xllamacpp")
        # It logs every attempt; the error below is enough.
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        try:
            return cached_file(self.repository, self.path, self.revision)
        # The client also raises OSError, ValueError and the errors of its HTTP client.
        except Exception as error:
            raise InvalidInput(f"{self}: {self.reason(error)}") from error

    def reason(self, error: Exception) -> str:
        """Why the client failed, and what would help."""
        from huggingface_hub import constants, errors

        match error:
            case errors.HFValidationError():
                return (
                    f"{self.repository!r} cannot be a repository: ORG and REPO are letters, digits,"
                    " -, _ and ., without -- or .. and with a letter or digit at both ends"
                )
            case errors.OfflineModeIsEnabled():
                return "not in the cache, and HF_HUB_OFFLINE is set; unset it or name another file"
            case errors.GatedRepoError():
                return "the repository is gated; accept its terms on its page, and set HF_TOKEN"
            case errors.RepositoryNotFoundError():
                return "no such repository, or a private one; correct the name, or set HF_TOKEN"
            case errors.RevisionNotFoundError():
                return f"the repository has no revision {self.revision!r}; correct it"
            case errors.LocalEntryNotFoundError():
                pass  # The hub failed on the second request, so the file may well be there.
            case errors.EntryNotFoundError():
                return "the repository has no such file; correct its name"
            case OSError() if error.errno:
                return f"cannot be stored in the cache ({error.strerror}); HF_HOME names another"
        host = urlsplit(constants.ENDPOINT).hostname
        name = type(error).__name__
        return f"{host} cannot deliver it ({name}); try again later, or name another file"


def cached_file(
    repository: str, path: str, revision: str | None = None, kind: str = "model"
) -> Path:
    """A file of the hub in the client's cache, downloaded if it is not there.

    Args:
        kind: of the repository, `model` or `dataset`.

    Raises whatever the client does: its own errors, OSError, ValueError, those of its HTTP client.
    """
    import huggingface_hub as hub

    place: dict[str, Any] = {"repo_type": kind, "revision": revision}
    found = hub.try_to_load_from_cache(repository, path, **place)
    if not isinstance(found, str):
        # A download retries for minutes before it fails; this request fails at once.
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, path, **place))
        found = hub.hf_hub_download(repository, path, **place)
    return Path(found)
