"""Who solves problems: the models and scorers of a run, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from trim.config import Settings
from trim.configuration.protocol import EvaluationProtocol
from trim.costs import Prices
from trim.models.model import Model
from trim.models.prompt import Prompt
from trim.policies.policy import Policy
from trim.router import Router
from trim.scorers.scorer import Scorer


class Models(Protocol):
    """Models and scorers, loaded or reached."""

    @property
    def weak(self) -> Model: ...

    @property
    def between(self) -> tuple[Model, ...]:
        """Models between the weak and the strong one, the weakest first."""
        ...

    @property
    def strong(self) -> Model: ...

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """By kind (`trim.scorers.scorer.KINDS`)."""
        ...

    def scorer_of(self, kind: str) -> Scorer:
        """Raises InvalidInput where there is none of that kind."""
        ...


class ModelSource(Protocol):
    """What is known of a team before any model is loaded or asked."""

    @property
    def usual_kind(self) -> str | None:
        """The kind of score that the team is used with; None where it has no scorer."""
        ...

    @property
    def policy(self) -> str | None:
        """The policy that comes with the team, as on the command line."""
        ...

    @property
    def routers(self) -> Mapping[str, str]:
        """Further policies that a server offers, by name."""
        ...

    @property
    def curve(self) -> Path | None:
        """A `summary.json` of `trim eval` that says what routers cost; None without one."""
        ...

    @property
    def target_share(self) -> float | None:
        """Share of strong tokens that a server's usual router is held at; None leaves it."""
        ...

    @property
    def passthrough(self) -> str | None:
        """`weak` or `strong`, whose server a `trim serve` hands what routing cannot serve; None
        where that is refused."""
        ...

    @property
    def belief(self) -> Path | None:
        """A model of `trim fit` that says what its scores let one believe; None without one."""
        ...

    @property
    def joint(self) -> Path | None:
        """The weights of joint scores; None where there are none."""
        ...

    @property
    def settings(self) -> Settings:
        """How problems with an answer are solved."""
        ...

    @property
    def chat_settings(self) -> Settings:
        """How a server answers, where nobody has set a task."""
        ...

    @property
    def protocol(self) -> EvaluationProtocol:
        """The conditions of an evaluation."""
        ...

    def for_problems(self, prompt: Prompt) -> ModelSource:
        """The same models, as they read the problems of a benchmark.

        Args:
            prompt: the benchmark's, for models that have none of their own and a protocol without
                one.
        """
        ...

    @property
    def price_list(self) -> Prices | None:
        """The prices that were given; None without any, where nothing is billed."""
        ...

    @property
    def prices(self) -> Prices:
        """`price_list`, or the example, for budgets in money that a server keeps."""
        ...

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Parts behind a hosted API that `price_list` does not name, as `strong`."""
        ...

    def identify(self, kind: str | None) -> dict[str, str]:
        """What names each model, by role: `weak`, `strong`, `scorer`, `joint` of joint scores.

        Of a file it is the sha256. Whoever was fitted to one team is refused with another.

        Raises:
            InvalidInput: a file cannot be read.
        """
        ...

    def called(self, role: str) -> str:
        """What a user calls the model in a role."""
        ...

    def record(self) -> dict[str, Any]:
        """What else a run depends on, for its `run.json`; no key and no address."""
        ...

    def files(self, folder: Path) -> dict[str, str]:
        """Files by name that a run's folder keeps, so that it can be repeated."""
        ...

    def load(self, slots: int | None = None, exact: bool = False, entropy: bool = False) -> Models:
        """Load or reach the models.

        Args:
            slots: requests that a model in this process works on together; None for its own.
            exact: repeat every character from run to run.
            entropy: have the models tell the entropy of each step's first token.

        Raises:
            InvalidInput: a file is missing or damaged, or a model does not work as it should.
            ModelUnavailable: a server does not answer.
        """
        ...


def router_of(team: Models, settings: Settings, scorer: Scorer | None, policy: Policy) -> Router:
    """The router of one policy on a team."""
    return Router(
        team.weak,
        team.strong,
        scorer,
        policy,
        settings.sampling,
        settings.max_steps,
        settings.max_strong_tokens,
        settings.max_seconds,
        team.between,
        settings.fallbacks,
        settings.overlap,
        settings.warming,
        rules=settings.rules,
    )
