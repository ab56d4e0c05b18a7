"""The part of a configuration that `trim serve` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trim.configuration.section import Section, said


class RouterSection(Section):
    """A router that a request may choose by name, as `trim:NAME`.

    Attributes:
        policy: as on the command line; `router` names the file of `trim calibrate` instead.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]
    policy: str | None = None
    router: Path | None = None

    @model_validator(mode="after")
    def require_one_policy(self) -> RouterSection:
        if (self.policy is None) == (self.router is None):
            raise said("name policy or router, one of the two")
        return self

    @property
    def spec(self) -> str:
        return self.policy or f"router:{self.router}"


class ServerSection(Section):
    """What a server offers besides the usual router.

    Attributes:
        curve: `summary.json` of `trim eval`, from which routers are chosen by what they cost.
        target_share: of strong tokens, which the usual router is held at.
        passthrough: the model that is handed what routing cannot serve; None where that is
            refused.
        belief: file of `trim fit`, from which the page shows what scores let one believe.
    """

    routers: tuple[RouterSection, ...] = ()
    curve: Path | None = None
    target_share: Annotated[float, Field(ge=0, le=1)] | None = None
    passthrough: Literal["weak", "strong"] | None = None
    belief: Path | None = None

    @model_validator(mode="after")
    def require_names(self) -> ServerSection:
        names = [router.name for router in self.routers]
        if len(set(names)) < len(names):
            raise said("two routers have one name")
        return self
