r"""The served models of the comparison with the authors' script (docs/guides/authors.md).

Three servers on loopback answer as vLLM does: a weak and a strong model (`/v1/completions`) and a
process reward model (`/pooling`). By default they run the shipped models. These read bare text, so
the chat template and the authors' instruction are taken off each prompt before a model reads it.
With --weak and --strong two other GGUF files write, and read each prompt as it is sent.

    python benchmarks/authors_servers.py --port-weak 30001 --port-strong 30000 --port-prm 30002 \
        --log served.jsonl

With --seed a model's answer is a function of the seed and the prompt, whatever seed a request
names: programs that send the same prompts get the same answers at any temperature.
With --disturb a share of the answers is replaced by what real models write now and then: rulers,
empty steps, early ends, steps that are cut.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from trim.engines.gguf import read_chat
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import ContextExceeded, ModelUnavailable
from trim.models.model import Completion, Ending, Prefix
from trim.scorers.label import LabelScorer
from trim.scorers.pooling import TAG
from trim.shipped import FOLDER
from trim.steps import SEPARATOR, is_degenerate, join_steps

HOST = "127.0.0.1"
CHAT = re.compile(
    r"<\|im_start\|>user\n(?P<request>.*?)<\|im_end\|>\n"
    r"<\|im_start\|>assistant\n(?P<said>.*?)(?:<\|im_end\|>\n?)?",
    re.DOTALL,
)
"""The last two turns of a chat in ChatML."""
QUESTION = "Question: "
"""What precedes the question in the authors' user turn."""
SOLUTION = ("Solution:\n\n", "Solution: ")
"""What precedes the steps in the authors' assistant turn: before the first one, and later."""
SHIPPED_CONTEXT, OTHER_CONTEXT = 1024, 4096
"""Tokens of prompt and answer together."""
WRITTEN = Completion("", Ending.STEP, 0, 0)
"""Stands for a step whose author is unknown; the label scorer does not read it."""


class BadRequest(Exception):
    """A request that is answered with status 400."""


def turns(text: str) -> tuple[str, str]:
    """Question and solution so far of a rendered chat, without the authors' instruction.

    Raises:
        BadRequest: the text is not a ChatML chat of a user and an assistant turn.
    """
    start = text.rfind("<|im_start|>user\n")
    chat = CHAT.fullmatch(text[start:]) if start >= 0 else None
    if chat is None:
        raise BadRequest("the prompt must be a ChatML chat that ends with an assistant turn")
    before, marked, after = chat["request"].partition(QUESTION)
    said = chat["said"]
    for opening in SOLUTION:
        if said.startswith(opening):
            said = said.removeprefix(opening)
            break
    return (after if marked else before), said


def bare_prompt(prompt: str) -> str:
    """What a shipped model reads in place of a rendered chat: question and steps.

    Steps without content are left out; the shipped models never saw any.
    """
    question, said = turns(prompt)
    steps = said.split(SEPARATOR)
    last = steps.pop()  # empty where the last step is complete
    return join_steps(question, (step for step in steps if not is_degenerate(step))) + last


def scored_steps(text: str) -> tuple[str, list[str]]:
    """Question and steps of a reward model's input, a step for each tag."""
    question, said = turns(text)
    return question, said.split(TAG)[:-1]


@dataclass(frozen=True)
class Written:
    """One answer of a served model.

    Attributes:
        text: without the stop string.
        stop: the stop string that ended it; None for an end token or a length limit.
        cut: whether a length limit ended it.
        tokens: decoded, those of the stop string and the end token included.
        prompt_tokens, cached_tokens: read, and of these found in the cache.
        logprobs: of the tokens, in the form of `/v1/completions`; None where not asked for.
    """

    text: str
    stop: str | None
    cut: bool
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    logprobs: dict[str, Any] | None


Disturbance = Callable[[Written], Written]
RULER, EMPTY = "---", ""
DISTURBANCES: dict[str, Disturbance] = {
    "a ruler": lambda w: replace(w, text=RULER, stop=SEPARATOR, cut=False),
    "an empty step": lambda w: replace(w, text=EMPTY, stop=SEPARATOR, cut=False),
    "the end at once": lambda w: replace(w, text=EMPTY, stop=None, cut=False),
    "the end without a box": lambda w: replace(
        w, text=w.text.partition("\n")[0], stop=None, cut=False
    ),
    "a cut step": lambda w: replace(w, text=w.text[: len(w.text) // 2], stop=None, cut=True),
    "a third line break": lambda w: replace(w, text="\n" + w.text),
    "a space at the end": lambda w: replace(w, text=w.text + " "),
}


def draw(*of: object) -> random.Random:
    """A source of random numbers that is a function of `of`."""
    return random.Random(hashlib.sha256(repr(of).encode()).digest())


class ServedModel:
    """A GGUF model behind `/v1/completions`.

    Args:
        path: the GGUF file.
        role: `weak` or `strong`, for the log.
        bare: whether it reads bare text, without the chat template.
        seed: answers are a function of it and the prompt; None takes a request's own seed.
        disturbed: share of the answers that are disturbed, in [0, 1].
        text_alone: whether `usage` counts the tokens of the text alone, as the authors' script
            does; else it counts what was decoded, stop string and end token included, as vLLM.
    """

    def __init__(
        self,
        path: Path,
        role: str,
        bare: bool = True,
        seed: int | None = None,
        disturbed: float = 0.0,
        text_alone: bool = False,
    ) -> None:
        # The shipped models are fast enough to be served exactly, one prompt after the other.
        self.context = SHIPPED_CONTEXT if bare else OTHER_CONTEXT
        settings: dict[str, Any] = {"exact": True} if bare else {"slots": 4, "threads": 2}
        self.engine = LlamaCppEngine(path, context=self.context, **settings)
        self.begins = int(read_chat(path).adds_begin)
        self.role = role
        self.bare = bare
        self.seed = seed
        self.disturbed = disturbed
        self.text_alone = text_alone

    async def write(self, prompt: str, body: Mapping[str, Any]) -> Written:
        """Raises BadRequest for a prompt that is no chat, ContextExceeded for a long one."""
        stop = body.get("stop") or []
        seed = body.get("seed")
        if self.seed is not None:
            seed = draw("sampling", self.seed, self.role, prompt).getrandbits(31)
        answer = await self.engine.complete(
            bare_prompt(prompt) if self.bare else prompt,
            n_predict=max(1, int(body.get("max_tokens") or 16)),
            temperature=float(body.get("temperature", 1.0)),
            top_p=float(body.get("top_p", 1.0)),
            top_k=max(0, int(body.get("top_k") or 0)),
            min_p=0.0,
            seed=random.getrandbits(31) if seed is None else int(seed),
            stop=[stop] if isinstance(stop, str) else stop,
            verbose=True,  # only the verbose record tells a stop string from an end token
            logprobs=max(1, int(body.get("logprobs") or 0)),
        )
        record = answer.raw["__verbose"]
        written = Written(
            text=answer.text,
            stop=record["stopping_word"] if record["stop_type"] == "word" else None,
            cut=record["stop_type"] == "limit",
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            logprobs=listed(answer.raw) if body.get("logprobs") is not None else None,
        )
        chance = draw("disturbance", self.seed, self.role, prompt)
        if chance.random() < self.disturbed:
            written = replace(
                DISTURBANCES[chance.choice(list(DISTURBANCES))](written), logprobs=None
            )
        if self.text_alone:
            written = replace(written, tokens=await self.count(written.text))
        return written

    async def count(self, text: str) -> int:
        """Tokens of a text, without any that the engine puts before it."""
        if not text:
            return 0
        read = await self.engine.complete(text, n_predict=1, temperature=0.0)
        return read.prompt_tokens - self.begins


def listed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """llama.cpp's log-probabilities in the form of OpenAI's `/v1/completions`."""
    entries = (raw["choices"][0].get("logprobs") or {}).get("content") or []
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in entries
        ],
        "text_offset": [],
    }


class AccessLog:
    """Every prompt that was served, as JSON lines in the order of the answers."""

    def __init__(self, file: TextIO | None) -> None:
        self.file = file
        self.last = time.monotonic()

    def write(self, **record: Any) -> None:
        self.last = time.monotonic()
        if self.file:
            self.file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self.file.flush()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def with_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in OpenAI's form."""
    try:
        return await handler(request)
    except ContextExceeded as error:
        return refused(400, f"the prompt exceeds this model's maximum context length: {error}")
    except (BadRequest, ValueError, TypeError, KeyError) as error:
        return refused(400, str(error) or "malformed request")
    except ModelUnavailable as error:
        return refused(500, str(error))


def refused(status: int, message: str) -> web.Response:
    kind = "BadRequestError" if status == 400 else "InternalServerError"
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


async def body_of(request: web.Request) -> dict[str, Any]:
    body = await request.json()
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def prompts_of(body: Mapping[str, Any]) -> list[str]:
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise BadRequest("prompt must be a text or a list of texts; token ids are not served")
    return prompts


def general_routes(name: str, context: int) -> list[web.RouteDef]:
    async def models(_: web.Request) -> web.Response:
        model = {"id": name, "object": "model", "owned_by": "trim", "max_model_len": context}
        return web.json_response({"object": "list", "data": [model]})

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    return [web.get("/v1/models", models), web.get("/health", health)]


def completions_app(model: ServedModel, journal: AccessLog) -> web.Application:
    """`/v1/completions` and `/tokenize` of a model."""

    async def completions(request: web.Request) -> web.Response:
        body = await body_of(request)
        if body.get("stream"):
            raise BadRequest("stream is not served")
        prompts = prompts_of(body)
        answers = await asyncio.gather(*(model.write(prompt, body) for prompt in prompts))
        for index, (prompt, written) in enumerate(zip(prompts, answers, strict=True)):
            journal.write(
                role=model.role,
                prompt=prompt,
                text=written.text,
                finish="length" if written.cut else "stop",
                stop=written.stop,
                tokens=written.tokens,
                index=index,
                batch=len(prompts),
                **{name: body.get(name) for name in SAMPLING_FIELDS},
            )
        return web.json_response(
            {
                "id": f"cmpl-{random.getrandbits(64):016x}",
                "object": "text_completion",
                "created": int(time.time()),
                "model": body.get("model") or model.role,
                "choices": [
                    choice(index, written, bool(body.get("include_stop_str_in_output")))
                    for index, written in enumerate(answers)
                ],
                "usage": usage(answers),
            }
        )

    async def tokenize(request: web.Request) -> web.Response:
        body = await body_of(request)
        (text,) = prompts_of(body)
        return web.json_response({"count": await model.count(text), "max_model_len": model.context})

    app = web.Application(middlewares=[with_errors])
    app.add_routes(general_routes(model.role, model.context))
    app.add_routes([web.post("/v1/completions", completions), web.post("/tokenize", tokenize)])
    return app


SAMPLING_FIELDS = ("max_tokens", "temperature", "top_p", "top_k", "seed")


def choice(index: int, written: Written, with_stop: bool) -> dict[str, Any]:
    return {
        "index": index,
        "text": written.text + (written.stop or "") if with_stop else written.text,
        "logprobs": written.logprobs,
        "finish_reason": "length" if written.cut else "stop",
        "stop_reason": written.stop,
    }


def usage(answers: list[Written]) -> dict[str, Any]:
    """One sum for all prompts of a request, as vLLM gives it."""
    prompt = sum(written.prompt_tokens for written in answers)
    completion = sum(written.tokens for written in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": sum(written.cached_tokens for written in answers)
        },
    }


def pooling_app(scorer: LabelScorer, journal: AccessLog) -> web.Application:
    """`/pooling`: a row [1 - score, score] for each tag, the score that of the shipped scorer."""
    known: dict[tuple[str, ...], tuple[float, int]] = {}

    async def score(question: str, steps: list[str]) -> tuple[float, int]:
        """Score of the newest step, and the tokens read."""
        key = (question, *steps)
        if key not in known:
            scores = await scorer.score(Prefix(question, tuple(steps)), [WRITTEN])
            known[key] = scores.values[0], scores.prompt_tokens
        return known[key]

    async def pooling(request: web.Request) -> web.Response:
        body = await body_of(request)
        text = body.get("input")
        if not isinstance(text, str):
            raise BadRequest("input must be a rendered chat")
        question, steps = scored_steps(text)
        scored = [await score(question, steps[:end]) for end in range(1, len(steps) + 1)]
        values = [value for value, _ in scored]
        read = scored[-1][1] if scored else 0
        journal.write(role="prm", prompt=text, scores=values)
        return web.json_response(
            {
                "id": f"pool-{random.getrandbits(64):016x}",
                "object": "list",
                "created": int(time.time()),
                "model": body.get("model") or "prm",
                "data": [
                    {
                        "index": 0,
                        "object": "pooling",
                        "data": [[1.0 - value, value] for value in values],
                    }
                ],
                "usage": {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read},
            }
        )

    app = web.Application(middlewares=[with_errors])
    app.add_routes(general_routes("prm", SHIPPED_CONTEXT))
    app.add_routes([web.post("/pooling", pooling)])
    return app


async def serve(
    apps: Mapping[str, tuple[web.Application, int]], idle: float, last: AccessLog
) -> None:
    """Listen until SIGTERM, SIGINT, or `idle` seconds without a prompt; print the addresses."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runners, addresses = [], {}
    try:
        for name, (app, port) in apps.items():
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, HOST, port).start()
            addresses[name] = f"http://{HOST}:{runner.addresses[0][1]}"
        print(json.dumps(addresses), flush=True)
        while not stopped.is_set() and time.monotonic() - last.last < idle:
            try:
                await asyncio.wait_for(stopped.wait(), timeout=min(1.0, idle))
            except TimeoutError:
                continue
    finally:
        for runner in runners:
            await runner.cleanup()


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--port-weak", type=int, default=30001, help="0 takes a free one")
    parser.add_argument("--port-strong", type=int, default=30000)
    parser.add_argument("--port-prm", type=int, default=30002)
    parser.add_argument("--weak", type=Path, help="GGUF file with a ChatML template")
    parser.add_argument("--strong", type=Path, help="GGUF file with a ChatML template")
    parser.add_argument("--seed", type=int, help="make answers a function of it and the prompt")
    parser.add_argument("--disturb", type=share, default=0.0, help="share of answers, 0 to 1")
    parser.add_argument(
        "--count",
        choices=("decoded", "text"),
        default="decoded",
        help="usage counts all that was decoded, or the text alone",
    )
    parser.add_argument("--log", type=Path, help="JSON lines: every prompt and its answer")
    parser.add_argument("--idle-minutes", type=float, default=30.0, help="end after these")
    given = parser.parse_args()
    if bool(given.weak) != bool(given.strong):
        parser.error("name both --weak and --strong, or neither")
    return given


def main() -> None:
    given = arguments()
    bare = given.weak is None
    file = given.log.open("w", encoding="utf-8") if given.log else None
    journal = AccessLog(file)
    weak, strong = (
        ServedModel(
            path or FOLDER / f"{role}.gguf",
            role,
            bare,
            given.seed,
            given.disturb,
            given.count == "text",
        )
        for role, path in (("weak", given.weak), ("strong", given.strong))
    )
    scorer = LabelScorer(LlamaCppEngine(FOLDER / "scorer.gguf", exact=True), "prm")
    apps = {
        "weak": (completions_app(weak, journal), given.port_weak),
        "strong": (completions_app(strong, journal), given.port_strong),
        "prm": (pooling_app(scorer, journal), given.port_prm),
    }
    asyncio.run(serve(apps, given.idle_minutes * 60, journal))


if __name__ == "__main__":
    main()
