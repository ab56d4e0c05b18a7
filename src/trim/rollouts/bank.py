"""A bank of recorded problems, as learners and audits read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.configuration.identity import identify_models
from trim.errors import InvalidInput
from trim.fingerprints import Seen, fingerprint
from trim.policies.ppo.trees import COPIES, TreeBatch, batch_trees
from trim.policies.rivals.fit import TrainingProblem, WeakSolution
from trim.rollouts.identity import UNSCORED, Identity, read_identity
from trim.rollouts.record import RecordedProblem, Tree
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.routed_store import read_routed
from trim.rollouts.store import read_parts

FIRST_ERRORS = "first errors"
"""Value of `labels` in a bank's metadata (`Identity.described`) if labels mark first errors."""


@dataclass(frozen=True)
class Trajectory:
    """The weak model's own solution of a problem.

    Attributes:
        scores, tokens: of each step, at least one. Scores are in [0, 1].
        right: the suite's check of each step, or an imported label (`Bank.labels_first_errors`);
            None without either.
        correct: whether the final answer is right.
    """

    problem_id: str
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    right: tuple[bool | None, ...]
    correct: bool


@dataclass(frozen=True)
class Bank:
    """All problems of a bank, ordered by id; at least one.

    Attributes:
        problems: in a partial bank (`Identity.partial`), several of them may be solutions of one
            problem (`groups`), and their strong solutions may be unknown.
        routed: solutions of policies that cannot be replayed.
    """

    identity: Identity
    problems: tuple[RecordedProblem, ...]
    routed: tuple[RoutedSolution, ...] = ()

    @property
    def measures_agreement(self) -> bool:
        """Whether the strong model's own answers stand for reference answers."""
        return self.identity.described.get("reference") == "strong"

    @cached_property
    def fingerprints(self) -> Seen:
        """Fingerprints of the bank's problems with a known question (`trim.fingerprints`)."""
        return frozenset(
            fingerprint(problem.question) for problem in self.problems if problem.question
        )

    def once(self) -> Bank:
        """The bank with the first of the problems that have the same question.

        They have the same seeds, and so the same solutions.
        """
        first = {
            fingerprint(problem.question) if problem.question else problem.problem_id: problem
            for problem in reversed(self.problems)
        }
        kept = {problem.problem_id for problem in first.values()}
        return replace(
            self, problems=tuple(each for each in self.problems if each.problem_id in kept)
        )

    @property
    def seen(self) -> Seen:
        """Fingerprints of the bank's problems and of those its scorer was fitted to."""
        return self.fingerprints | self.identity.seen

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(P,) index of the problem that each of `problems` is a solution of, from 0.

        Those of one problem are not independent.
        """
        names = [problem.group or problem.problem_id for problem in self.problems]
        places = {name: place for place, name in enumerate(self.group_names)}
        return np.array([places[name] for name in names], dtype=np.int64)

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The problems that `groups` counts, in ascending order."""
        return tuple(sorted({each.group or each.problem_id for each in self.problems}))

    @property
    def has_strong(self) -> bool:
        """Whether the strong model's own solution of every problem is known."""
        return all(problem.has_strong for problem in self.problems)

    def require_strong(self, purpose: str) -> None:
        """Raises InvalidInput without solutions by the strong model.

        Args:
            purpose: what needs them, as in `a replay`.
        """
        if not self.has_strong:
            raise InvalidInput(
                f"the bank holds no solutions by the strong model, which {purpose} needs; use a"
                " bank of `trim collect`, or import traces of both models"
            )

    @property
    def labels_first_errors(self) -> bool:
        """Whether the labels of steps mark first errors alone, as in an imported file.

        Steps after the first error are then labelled wrong, though each of them may be right by
        itself.
        """
        return self.identity.described.get("labels") == FIRST_ERRORS

    @cached_property
    def trees(self) -> list[Tree]:
        return [problem.tree for problem in self.problems]

    @cached_property
    def recorded_policies(self) -> set[tuple[str, str | None]]:
        """Name and fitted file (`RoutedSolution`) of the policies with recorded solutions."""
        return {*self._routed}

    def solutions_of(
        self, policy: str, file: str | None = None, max_strong_tokens: int | None = None
    ) -> list[RoutedSolution] | None:
        """A policy's solutions under a limit, in the order of `problems`; None if one is missing.

        Args:
            policy: its name.
            file: sha256 of its fitted file.
        """
        by_problem = self._routed.get((policy, file), {})
        found = [
            next(
                (each for each in by_problem.get(id, ()) if each.holds_under(max_strong_tokens)),
                None,
            )
            for id in (problem.problem_id for problem in self.problems)
        ]
        present = [each for each in found if each is not None]
        return present if len(present) == len(found) else None

    @cached_property
    def _routed(self) -> dict[tuple[str, str | None], dict[str, list[RoutedSolution]]]:
        """Routed solutions by policy and file, and by problem."""
        found: dict[tuple[str, str | None], dict[str, list[RoutedSolution]]] = {}
        for each in self.routed:
            by_problem = found.setdefault((each.policy, each.file), {})
            by_problem.setdefault(each.problem_id, []).append(each)
        return found

    def tree_batch(self, copies: int = COPIES) -> TreeBatch:
        """The trees as flat arrays.

        Args:
            copies: maximum number of nodes of an unrolled tree (`unroll`); 1 leaves every tree
                as it is, with each draft once.

        Raises:
            InvalidInput: the bank holds no recorded decision.
        """
        return batch_trees(self.trees, copies)

    def trajectories(self) -> list[Trajectory]:
        """The weak model's own solutions, in the order of `problems`."""
        return [
            Trajectory(
                problem.problem_id,
                tuple(step.score for step in problem.weak.steps if step.score is not None),
                tuple(step.tokens for step in problem.weak.steps),
                tuple(step.right for step in problem.weak.steps),
                problem.weak.correct,
            )
            for problem in self.problems
        ]

    def solved_alone(self) -> list[TrainingProblem]:
        """Each problem as each model solves it alone, for query-level baselines.

        Raises:
            InvalidInput: the bank holds no solutions by the strong model.
        """
        self.require_strong("a rival")
        return [
            TrainingProblem(
                problem.question,
                WeakSolution(
                    trajectory.scores,
                    trajectory.tokens,
                    problem.nodes[problem.rollouts[0].nodes[-1]].draft_answers,
                ),
                problem.weak.correct,
                problem.strong.correct,
                problem.strong.tokens,
            )
            for problem, trajectory in zip(self.problems, self.trajectories(), strict=True)
        ]


def read_bank(path: Path, models: Path | None = None, scored: bool = True) -> Bank:
    """Read the bank in the folder `path`.

    Args:
        models: folder of models; the bank must have been recorded with these.
        scored: refuse a bank without scores.

    Raises:
        InvalidInput: the bank is missing, empty, damaged, of another format version, without
            scores, or recorded with other models.
    """
    identity = read_identity(path)
    if scored and identity.scorer == UNSCORED:
        raise InvalidInput(
            f"{path}: its steps have no scores; add them with `trim rescore {path} CONFIG --out"
            " NEW`"
        )
    if models and identity.models != identify_models(models, identity.scorer):
        raise InvalidInput(
            f"{path}: recorded with other models than {models}; collect a bank with those"
        )
    problems = tuple(read_parts(path))
    if not problems:
        raise InvalidInput(f"{path}: the bank is empty; fill it with `trim collect`")
    return Bank(identity, problems, tuple(read_routed(path)))
