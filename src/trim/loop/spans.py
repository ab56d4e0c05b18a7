"""Writing a step in spans: the weak model up to a doubtful token, the strong model from there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from trim.events import Regenerated, SpanWritten
from trim.loop.solution import Part, Solution, Version, Writer, joined, together
from trim.models.model import Completion, Ending, Token
from trim.models.spans import WORD_TOKENS, StopRule, mean_of, require_spans
from trim.policies.policy import Policy, TokenObservation
from trim.policies.span import Extent, Unit, word_start
from trim.steps import SEPARATOR, closed, is_degenerate
from trim.types import Action, Author


@dataclass(frozen=True)
class DraftRule:
    """Ends a draft at its first token that the policy has rewritten.

    Attributes:
        begun: the step before the draft.
        position: number of its tokens.
        whole_words: end the draft before the word that has the token.
    """

    policy: Policy = field(hash=False)  # that of another package may not be hashable
    question: str
    steps: tuple[str, ...]
    begun: str
    position: int
    seed: int
    whole_words: bool

    def __call__(self, tokens: Sequence[Token]) -> int | None:
        if self.extent(tokens) is None:
            return None
        place = len(tokens) - 1
        return word_start(tokens, place) if self.whole_words else place

    def extent(self, tokens: Sequence[Token]) -> Extent | None:
        """How far the strong model writes in place of the newest token; None keeps it."""
        return self.policy.at_token(
            TokenObservation(
                self.question, self.steps, self.begun, self.position, tuple(tokens), self.seed
            )
        )


@dataclass(frozen=True)
class ExtentRule:
    """Ends a span of the strong model."""

    extent: Extent
    whole_words: bool

    def __call__(self, tokens: Sequence[Token]) -> int | None:
        return self.extent.end(tokens, self.whole_words)


class SpanWriter:
    """Writes steps whose parts have different authors.

    Text outside a rewritten span stays as it is. Where the vocabularies of the models differ, or
    are unknown, spans begin and end between two words: a model that has to continue a word which it
    would cut differently writes a wrong one.

    Args:
        writers: all models, weakest first.
        policy: decides at each token (`Policy.inside_steps`), or chooses the place from which a
            draft is rewritten (`Policy.places`).

    Attributes:
        extent: how far the strong model writes next; None if it is not its turn.
        parts: the spans of the step so far.
    """

    def __init__(self, solution: Solution, writers: Sequence[Writer], policy: Policy) -> None:
        self.solution = solution
        self.writers = writers
        self.policy = policy
        self.extent: Extent | None = None
        self.parts: list[Part] = []
        self._drafts_on = False
        self._leads = 0
        self._whole_words = True

    async def require_models(self) -> None:
        """Raises InvalidInput if a model cannot write inside steps, and the policy needs it."""
        if not self.policy.needs_spans:
            return
        models = [await require_spans(writer.model) for writer in self.writers]
        vocabularies = {model.vocabulary for model in models}
        self._whole_words = len(vocabularies) > 1 or None in vocabularies

    @property
    def is_active(self) -> bool:
        """Whether the current step is written in spans."""
        return self.policy.inside_steps or bool(self.parts)

    @property
    def text(self) -> str:
        """The step so far."""
        return "".join(part.written.text for part in self.parts)

    @property
    def kept(self) -> int:
        """Tokens of the step so far."""
        return sum(part.kept for part in self.parts)

    def rewrite_from(self, draft: Version) -> None:
        """Keep the beginning of a rejected draft, up to the place that the policy chooses."""
        tokens = draft.written.decoded
        place = self.policy.place(tokens) if tokens else 0
        if self._whole_words and place:
            place = word_start(tokens, place)
        parts = draft.parts or (Part.of(draft.writer, draft.written),)
        self.parts = [*beginning(parts, place)]

    def draft_on(self) -> None:
        """Have the weak model finish the step: the strong one wrote nothing."""
        self.extent = None
        self._drafts_on = True

    def reset(self) -> None:
        """Forget the spans of the step."""
        self.extent, self.parts, self._drafts_on, self._leads = None, [], False, 0

    def cut(self) -> None:
        """Keep the spans of a step that cannot be finished: clients already have them."""
        if not self.text:
            return
        last = self.parts[-1]
        self.parts[-1] = replace(last, written=replace(last.written, ending=Ending.LENGTH))
        finish = self.solution.finish
        self._complete()
        self.solution.commit(Action.CONTINUE)
        self.solution.finish = finish

    async def write(self, writer: Writer, strong_tokens: float) -> SpanWritten | Regenerated:
        """Have a model write the next span of the step; after the last one the step is a version.

        Args:
            strong_tokens: those that the strong model may still decode for this problem.
        """
        index, extent = self.solution.length + 1, self.extent
        rule: DraftRule | None = None
        limit: float = self._room()
        if writer.author is Author.STRONG:
            stop: StopRule | None = ExtentRule(extent, self._whole_words) if extent else None
            limit = min(limit, strong_tokens, self._most(extent))
        else:
            stop = rule = self._rule(strong_tokens)
        written = await self.solution.write_span(writer, self.text, int(limit), stop)
        self.parts.append(Part.of(writer, written))
        if written.ending is Ending.RULE and self._room() <= 0:
            written = replace(written, ending=Ending.LENGTH)
            self.parts[-1] = replace(self.parts[-1], written=written)
        self.extent = None
        if rule and written.ending is Ending.RULE:
            self.extent = found_extent(rule, written)
        elif extent and not written.text:
            self.draft_on()
        if not self._ends(written, limit):
            return self._event(index, writer, self.parts[-1].written)
        version = self._complete()
        if version.writer.author is Author.WEAK:
            return self._event(index, writer, written)
        whole = version.written
        return Regenerated(index, whole.text, whole.tokens, version.writer.author)

    def _rule(self, strong_tokens: float) -> DraftRule | None:
        """The rule of a draft; None where the strong model must not write."""
        if not self.policy.inside_steps or self._drafts_on or strong_tokens < 1:
            return None
        solution = self.solution
        return DraftRule(
            self.policy,
            solution.question,
            solution.prefix.steps,
            self.text,
            self.kept,
            solution.seed,
            self._whole_words,
        )

    def _most(self, extent: Extent | None) -> float:
        """The most tokens that the strong model may need for a span."""
        if extent is None or extent.unit is not Unit.TOKENS:
            return math.inf
        return extent.tokens + (WORD_TOKENS if self._whole_words else 0)

    def _room(self) -> int:
        """Tokens that are left for the step."""
        limit = self.solution.config.sampling.max_tokens - self.kept
        return min(limit, self.solution.room(ahead=self.kept))

    def _ends(self, written: Completion, limit: float) -> bool:
        """Whether the newest span ends the step.

        A step without content does not end there, nor one inside a fenced block; the model goes on
        after its blank line.
        """
        if written.ending is Ending.RULE:
            return False
        if written.ending is Ending.LENGTH:
            return self._room() <= 0 or written.tokens < limit
        goes_on = written.ending is Ending.STEP or self.solution.config.rules.asks_on
        lead = self.text
        empty = goes_on and is_degenerate(lead) and lead.count(SEPARATOR) <= 1
        fenced = self.solution.continues_fence(lead, written.ending)
        if (empty or fenced) and self._room() > 0:
            *_, last = self.parts
            text = closed(lead)[len(lead) - len(written.text) :]
            self.parts[-1] = replace(last, written=replace(written, text=text))
            if empty and self.solution.config.rules.rejoins:
                self._leads = len(self.parts)
            return False
        if fenced:
            self.parts[-1] = replace(self.parts[-1], written=replace(written, ending=Ending.LENGTH))
        return True

    def _complete(self) -> Version:
        """Make the spans the newest version of the step: a draft, or the rewrite of one."""
        leads, rest = self.parts[: self._leads], self.parts[self._leads :]
        self.parts = [*map(emptied, leads), *without_breaks(rest)]
        written = joined(self.parts, self.solution.config.rules.rejoins)
        authors = (part.writer for part in self.parts)
        writer = self.writers[0]
        if not self.policy.inside_steps or self.solution.level:
            writer = max(authors, key=self.writers.index)
        version = Version(writer, written, parts=tuple(self.parts))
        self.solution.versions.append(version)
        self.reset()
        return version

    def _event(self, index: int, writer: Writer, written: Completion) -> SpanWritten:
        dropped = "".join(token.text for token in written.dropped)
        return SpanWritten(index, writer.author, written.text, written.tokens, dropped)


def emptied(part: Part) -> Part:
    """A part that is not kept (`trim.config.Rules.rejoins`), with the tokens that it took."""
    written = replace(part.written, text="", ending=Ending.RULE, decoded=(), dropped=())
    return replace(part, written=written, kept=0)


def beginning(parts: Sequence[Part], place: int) -> Iterator[Part]:
    """The parts of a version up to a token, as the beginning of the next version.

    Args:
        place: number of tokens.
    """
    for part in parts:
        written = part.written
        tokens, place = part.written.decoded[:place], max(place - len(part.written.decoded), 0)
        if text := "".join(token.text for token in tokens):
            begun = replace(
                written,
                text=text,
                ending=Ending.RULE,
                log_probability=None if written.log_probability is None else mean_of(tokens),
                decoded=tokens,
                dropped=written.decoded[len(tokens) :],
            )
            yield Part(part.writer, begun, len(tokens), 0)


def without_breaks(parts: Sequence[Part]) -> list[Part]:
    """The parts; those that one model wrote across a blank line as one."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last and last.writer is part.writer and last.written.ending is Ending.STEP:
            written = together(last.written, part.written)
            found[-1] = Part(
                part.writer, written, last.kept + part.kept, last.decoded + part.decoded
            )
        else:
            found.append(part)
    return found


def found_extent(rule: DraftRule, written: Completion) -> Extent | None:
    """The extent for which a rule ended a draft."""
    tokens = (*written.decoded, *written.dropped)
    ends = range(len(written.decoded) + 1, len(tokens) + 1)
    return next((extent for end in ends if (extent := rule.extent(tokens[:end]))), None)
