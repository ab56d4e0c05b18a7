"""Checks of models: whether they continue a text, and whether their token counts are plausible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from trim.checks.findings import Finding, timed
from trim.checks.spans import try_spans
from trim.configuration.build import WritingModel
from trim.errors import TrimError
from trim.models.continuation import Continuation
from trim.models.model import Completion, Model, Prefix, Sampling
from trim.models.probe import ProbeResult, probe, try_mode

QUESTION = "Write down 13. 1) add 4. 2) last, multiply by 3. What is the result?"
TOKENS = 64
CALLS = 3
"""Calls of which the median time is reported."""

Modes = tuple[tuple[Continuation, ProbeResult], ...]


async def check_model(finding: Finding, model: Model, sampling: Sampling) -> Finding:
    """Try all continuations of a model, then let it write a step, and inside a step.

    A plug-in has no other continuations.

    Raises:
        InvalidInput, ModelUnavailable: the model does not work.
    """
    if isinstance(model, WritingModel):
        found = await probe(model)
        modes = {found.continuation: found.verdict, **await other_modes(model)}
        finding = replace(
            finding,
            reachable=True,
            continuation=found.continuation,
            modes=best_first(model, modes),
            cached=found.cached_tokens,
        )
    short = replace(sampling, max_tokens=min(sampling.max_tokens, TOKENS))
    write = partial(model.write_step, Prefix(QUESTION), short, 1)
    (step, *_), milliseconds = await timed([write] * CALLS)
    return replace(
        finding,
        reachable=True,
        tokens=(step.prompt_tokens, step.tokens),
        milliseconds=milliseconds,
        failure=miscounted(step),
        spans=await try_spans(model, QUESTION, short),
    )


async def other_modes(model: WritingModel) -> dict[Continuation, ProbeResult]:
    """The other continuations that work, with the probe's verdicts."""
    found = {}
    for mode in model.modes:
        if mode is not model.continuation:
            try:
                found[mode] = await try_mode(model.with_mode(mode))
            except TrimError:
                continue
    return found


def best_first(model: WritingModel, modes: Mapping[Continuation, ProbeResult]) -> Modes:
    """Continuations with a clear verdict first, otherwise in the order of the kind of server."""
    order = [mode for mode in (*model.modes, *modes) if mode in modes]
    ranked = sorted(dict.fromkeys(order), key=lambda mode: modes[mode] is not ProbeResult.CONTINUED)
    return tuple((mode, modes[mode]) for mode in ranked)


def miscounted(step: Completion) -> str | None:
    """Why the token counts of a step cannot be right; None if they are plausible."""
    words, characters = len(step.text.split()), len(step.text.strip().encode())
    asked = len(QUESTION.split())
    if 2 * step.prompt_tokens < asked:
        return (
            f"{step.prompt_tokens} prompt tokens are counted for {asked} words; the server must"
            " report its usage"
        )
    if 2 * step.tokens < words:
        return (
            f"{step.tokens} tokens are counted for {words} words; the server must report its usage"
        )
    if step.tokens > 2 * characters + 8:
        return (
            f"{step.tokens} tokens are counted for {characters} characters; if the model thinks"
            " and hides it, set thinking_off"
        )
    return None
