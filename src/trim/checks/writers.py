"""Whether a model goes on from a text, and counts what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from trim.checks.findings import Finding, timed
from trim.configuration.build import WritingModel
from trim.errors import TrimError
from trim.models.continuation import Continuation
from trim.models.model import Completion, Prefix, Sampling
from trim.models.probe import ProbeResult, probe, try_mode

QUESTION = "Write down 13. 1) add 4. 2) last, multiply by 3. What is the result?"
TOKENS = 64
CALLS = 3
"""The milliseconds are the median of so many."""

Modes = tuple[tuple[Continuation, ProbeResult], ...]


async def check_writer(finding: Finding, model: WritingModel, sampling: Sampling) -> Finding:
    """Raises InvalidInput or ModelUnavailable where the model does not work."""
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
    finding = replace(finding, tokens=(step.prompt_tokens, step.tokens), milliseconds=milliseconds)
    return replace(finding, failure=miscounted(step))


async def other_modes(model: WritingModel) -> dict[Continuation, ProbeResult]:
    """The modes besides the model's own that work, each with the probe's verdict."""
    found = {}
    for mode in model.modes:
        if mode is not model.continuation:
            try:
                found[mode] = await try_mode(model.with_mode(mode))
            except TrimError:
                continue
    return found


def best_first(model: WritingModel, modes: Mapping[Continuation, ProbeResult]) -> Modes:
    """Those in which the model has gone on before those in which that is unclear, and otherwise
    in the order of its kind of server."""
    order = [mode for mode in (*model.modes, *modes) if mode in modes]
    ranked = sorted(dict.fromkeys(order), key=lambda mode: modes[mode] is not ProbeResult.CONTINUED)
    return tuple((mode, modes[mode]) for mode in ranked)


def miscounted(step: Completion) -> str | None:
    """What is wrong with the counts of a step; None where they may be right."""
    words, characters = len(step.text.split()), len(step.text.strip().encode())
    if 2 * step.prompt_tokens < len(QUESTION.split()):
        return (
            f"{step.prompt_tokens} prompt tokens are counted for {len(QUESTION.split())} words; let"
            " the server tell its usage"
        )
    if 2 * step.tokens < words:
        return f"{step.tokens} tokens are counted for {words} words; let the server tell its usage"
    if step.tokens > 2 * characters + 8:
        return (
            f"{step.tokens} tokens are counted for {characters} characters; if the model thinks"
            " unseen, name thinking_off"
        )
    return None
