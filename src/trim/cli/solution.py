"""A solution on a terminal, step by step as it is written."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trim.costs import Prices, hidden_strong_usage
from trim.evaluation.verdict import amount
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored, SpanWritten
from trim.steps import bare
from trim.terminal import one_line, printable
from trim.types import Action, Author, Step, Trace, Usage

COLOURS = {Author.WEAK: "cyan", Author.INTERMEDIATE: "blue", Author.STRONG: "magenta"}
REJECTED = "strike dim cyan"


def show_events(console: Console, events: Iterable[Event], prices: Prices | None) -> Trace:
    """Print events as they happen, and the cost at the end; returns the finished trace.

    Args:
        prices: None if nothing is billed.
    """
    with SolutionView(console, prices) as view:
        for event in events:
            view.show(event)
            if isinstance(event, Finished):
                return event.trace
    raise AssertionError("events always end with Finished")


class SolutionView:
    """Prints a solution: each step in the colours of its authors, with the cost so far.

    On a terminal, the spans of the step in progress are shown as they are written. Rejected drafts
    and parts of drafts are struck through.

    Args:
        prices: None if nothing is billed.
    """

    def __init__(self, console: Console, prices: Prices | None) -> None:
        self.console = console
        self.prices = prices
        self.weak = self.strong = self.discarded = 0
        self._version = ""
        self._drafted = 0
        self._score: float | None = None
        self._spans: list[SpanWritten] = []
        self._live: Live | None = None

    def __enter__(self) -> SolutionView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_spans()

    def show(self, event: Event) -> None:
        """Print an event."""
        match event:
            case Drafted(_, text, tokens):
                self._version, self._drafted, self._score = text, tokens, None
            case SpanWritten():
                self._add(event)
            case Scored(_, score):
                self._score = score
            case Decided(index, action) if action is not Action.CONTINUE:
                self._reject(index, action)
            case Regenerated(_, text):
                self._version, self._score = text, None
            case Kept(index, step):
                self._keep(index, step)
            case Finished(trace):
                self._finish(trace)

    def _add(self, span: SpanWritten) -> None:
        if not self._spans:
            self._version, self._score = "", None
        self._spans.append(span)
        self._version += span.text
        if span.author is Author.WEAK:
            self._drafted += span.tokens
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._spans_line(span.index), refresh=True)

    def _spans_line(self, index: int) -> Text:
        line = numbered(index)
        strikes = self.console.color_system is not None
        for span in self._spans:
            line.append(printable(span.text), COLOURS[span.author])
            if strikes:
                line.append(printable(span.dropped), REJECTED)
        line.rstrip()
        return line

    def _end_spans(self) -> None:
        if self._live:
            self._live.stop()
        self._live, self._spans = None, []

    def _reject(self, index: int, action: Action) -> None:
        self._end_spans()
        self.console.print(
            numbered(index).append(printable(bare(self._version)), REJECTED),
            Text(f"     score {format_score(self._score)} → {action}", "yellow"),
            sep="\n",
        )
        if action is Action.RESTART:
            self.weak += self._drafted
            self.discarded = self.weak
            self._drafted = 0

    def _keep(self, index: int, step: Step) -> None:
        self.weak += step.draft_tokens
        self.strong += step.strong_tokens
        self.discarded += step.draft_tokens - step.tokens_by(Author.WEAK)
        line = numbered(index)
        if self._spans and bare("".join(span.text for span in self._spans)) == bare(step.text):
            line = self._spans_line(index)
        elif step.spans:
            for span in step.spans:
                line.append(printable(span.text), COLOURS[span.author])
            line.rstrip()
        else:
            line.append(printable(bare(step.text)), COLOURS[step.author])
        self._end_spans()
        self.console.print(line)
        kept = f"score {format_score(self._score)} → keep · " if self._score is not None else ""
        cost = f"{self.weak} weak tokens ({self.discarded} discarded), {self.strong} strong"
        cut = " · cut at its token limit" if step.truncated else ""
        down = f" · the {step.fallback} does not answer" if step.fallback else ""
        note = f"     {describe_author(step)} · {kept}so far {cost}{cut}{down}"
        self.console.print(Text(note, "dim"))
        self._drafted = 0

    def _finish(self, trace: Trace) -> None:
        answer = Text("Answer ").append(one_line(str(trace.answer)), "bold")
        if trace.whole:
            whole = f"Whole, in one request, by the {trace.whole.role} model: {trace.whole.reason}"
            self.console.print(one_line(whole), soft_wrap=True, markup=False)
            answer = answer if trace.answer is not None else Text("Ended")
        self.console.print(
            answer,
            f"({trace.finish}): {trace.strong_tokens} strong tokens in"
            f" {trace.usage['strong'].requests} calls, {trace.weak_tokens} weak kept,"
            f" {trace.discarded_tokens} discarded, {trace.interventions} rewrites",
        )
        if denied := sum(step.denied for step in trace.steps):
            self.console.print(f"Rewrites denied at the token limit: {denied}")
        if trace.failure:
            self.console.print(f"Failed: {one_line(trace.failure)}", soft_wrap=True)
        self.console.print(f"Total: {format_total(trace, self.prices)}", soft_wrap=True)


def numbered(index: int) -> Text:
    """The beginning of a step's line."""
    return Text().append(f"{index:>3}  ", "dim")


def describe_author(step: Step) -> str:
    """`weak`, or `strong: 1 of 15 tokens` for a step by several models."""
    if not step.spans:
        return str(step.author)
    return f"{step.author}: {step.tokens_by(step.author)} of {step.tokens} tokens"


def format_total(trace: Trace, prices: Prices | None) -> str:
    """Money, seconds, and strong tokens that belong to no step: `money 0.00454, 4.10 s`."""
    money = f"money {amount(prices.of(trace))}" if prices else "money not billed"
    hidden = hidden_strong_usage(trace)
    besides = (
        f"; besides steps, the strong model read {hidden.prompt_tokens:,} and wrote"
        f" {hidden.tokens:,} tokens, for grades or prefill"
    )
    return f"{money}, {trace.seconds:.2f} s{besides if hidden != Usage() else ''}"


def format_score(score: float | None) -> str:
    return "none" if score is None else f"{score:.2f}"
