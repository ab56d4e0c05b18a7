"""A model behind OpenAI's protocol: vLLM, SGLang, llama.cpp's server, TGI, hosted ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trim.engines.chat_template import ChatTemplate
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.models.continuation import (
    OTHER,
    Continuation,
    Dialect,
    ThinkingOff,
    first_step,
    request,
    without_repeated,
)
from trim.models.model import Completion, Ending, Prefix, Sampling, Turn
from trim.models.prompt import Prompt, conversation
from trim.models.response import (
    LIKELIEST,
    Response,
    TokenMemory,
    first_entropy,
    mean_log_probability,
    read_answer,
)
from trim.steps import SEPARATOR, with_rest


class OpenAIModel:
    """Continues a solution on a server, in an explicit mode.

    Args:
        server: where it runs.
        model: the server's name of it.
        continuation: how it is made to go on; `trim.models.probe` finds out whether it works.
        dialect: the kind of server.
        name: what traces call it; the server's name where None.
        template: the model's chat template, for `completions`; without one, question and steps
            are sent as plain text.
        prompt: what is read around the question.
        thinking_off: how a model that thinks is told not to; None leaves it as it is.
        log_probabilities: ask how sure the model was of each step; None where that is free.
        entropy: fill in `first_entropy` of each step as well.
        token_ids: send tokens in place of text where the model goes on by itself and the
            server takes them (`completions` on vLLM and llama.cpp).
        extra_body: fields of each request, over all others; None leaves a field out.
    """

    def __init__(
        self,
        server: HttpServer,
        model: str,
        continuation: Continuation,
        dialect: Dialect = OTHER,
        name: str | None = None,
        template: ChatTemplate | None = None,
        prompt: Prompt = Prompt(),  # noqa: B008 - it cannot change
        thinking_off: ThinkingOff | None = None,
        log_probabilities: bool | None = None,
        entropy: bool = False,
        token_ids: bool = True,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if continuation not in dialect.modes:
            raise InvalidInput(
                f"{server.name}: servers of the kind {dialect.name!r} do not take the mode"
                f" {continuation.value!r}; they take {', '.join(dialect.modes)}"
            )
        if continuation is Continuation.COMPLETIONS and template is None and prompt.system:
            raise InvalidInput(
                f"{model}: a system message needs a chat template; name the tokenizer's folder"
            )
        self.server = server
        self.model = model
        self.continuation = continuation
        self.dialect = dialect
        self.name = name or model
        self.template = template
        self.prompt = prompt
        self.thinking_off = thinking_off
        self.entropy = entropy
        free = dialect.log_probabilities
        self.log_probabilities = entropy or (
            free if log_probabilities is None else log_probabilities
        )
        self.token_ids = token_ids and continuation is Continuation.COMPLETIONS
        self.extra_body = dict(extra_body or {})
        self._memory = TokenMemory()
        self._spellings: dict[int, str] = {}

    @property
    def modes(self) -> tuple[Continuation, ...]:
        """Those that may work, the best first."""
        plain = self.template is None and self.continuation is not Continuation.COMPLETIONS
        lacking = {Continuation.COMPLETIONS} if plain else set()
        return tuple(mode for mode in self.dialect.modes if mode not in lacking)

    @property
    def adds_begin(self) -> bool:
        """Whether the server puts the token that begins a text before a plain text."""
        return self.dialect.adds_begin or self.dialect.name == "vllm"

    def with_mode(self, continuation: Continuation) -> OpenAIModel:
        """The same model in another mode."""
        return OpenAIModel(
            self.server,
            self.model,
            continuation,
            self.dialect,
            self.name,
            self.template,
            self.prompt,
            self.thinking_off,
            self.log_probabilities,
            self.entropy,
            self.token_ids,
            self.extra_body,
        )

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.ask`.
        """
        started = time.perf_counter()
        said, opening = prefix.said, self.prompt.opening(bool(prefix.steps))
        body = {**self._sampled(sampling, seed), "stop": [SEPARATOR]}
        if self.log_probabilities:
            body |= self._told(LIKELIEST if self.entropy else 1)
        body |= await self._prompt(prefix)
        answer = await self._ask(body)
        spent = answer.usage
        text = self._continued(answer.text, said, opening)
        if not text.strip() and said and self.continuation is Continuation.USER_TURN:
            # It has only repeated what was quoted; without a stop it comes to the next step.
            answer = await self._ask({**body, "stop": None})
            spent += answer.usage
            text = self._continued(answer.text, said)
        step = self._first_step(text)
        ending = self._ending(answer, text, said)
        whole = step
        if ending is Ending.STEP:
            whole = step + SEPARATOR
            if not text.partition(SEPARATOR)[2].strip():
                whole = await self._spelled(answer, whole)
                if opening == self.prompt.opening(steps=True):  # else it will be another text
                    self._remember(prefix.then(whole), body, answer)
        return Completion(
            text=whole,
            ending=ending,
            tokens=spent.tokens,
            prompt_tokens=spent.prompt_tokens,
            cached_tokens=spent.cached_tokens,
            seconds=time.perf_counter() - started,
            log_probability=mean_log_probability(answer.tokens, step),
            first_entropy=first_entropy(answer.tokens, step) if self.entropy else None,
        )

    async def prefill(self, prefix: Prefix) -> Completion:
        """Have the server read a prefix, so that it is in its cache; one token is written.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.ask`.
        """
        body = self._sampled(Sampling(0.0, 1.0, 0, 1), 0)
        spent = (await self._ask({**body, **await self._prompt(prefix)})).usage
        counts = (spent.tokens, spent.prompt_tokens, spent.cached_tokens)
        return Completion("", Ending.LENGTH, *counts)

    async def go_on(self, question: str, said: str, tokens: int) -> Response:
        """Continue any text, greedily and without a stop; without what is repeated of it."""
        body = self._sampled(Sampling(0.0, 1.0, 0, tokens), 0)
        answer = await self._ask({**body, **self._text(self.prompt.asked(question), said)})
        return replace(answer, text=self._continued(answer.text, said))

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer to a single message, greedily.

        Args:
            likeliest: tokens whose probabilities are told in each place; 0 for none.
        """
        body = self._sampled(Sampling(0.0, 1.0, 0, tokens), 0)
        if likeliest:
            body |= self._told(likeliest)
        return await self._ask({**body, **self._text(request, "")})

    async def read_on(self, text: str, likeliest: int) -> Response:
        """The next token after a plain text, without any template, and its rivals."""
        body = {**self._sampled(Sampling(0.0, 1.0, 0, 1), 0), "logprobs": likeliest}
        return await self._ask({**body, "prompt": text})

    async def _ask(self, body: Mapping[str, Any]) -> Response:
        path = "/completions" if "prompt" in body else "/chat/completions"
        whole = {"model": self.model, **self.dialect.fields, **body, **self.extra_body}
        try:
            return await self.server.ask(path, whole, read_answer)
        except ContextExceeded as error:
            limit = self.dialect.limit
            if not error.room or error.room <= 0 or error.room >= (whole.get(limit) or 0):
                raise
            # The prompt fits; some servers refuse unless the longest answer would fit as well.
            return await self.server.ask(path, {**whole, limit: error.room}, read_answer)

    async def _prompt(self, prefix: Prefix) -> dict[str, Any]:
        """The fields that hold what is to be continued: tokens where they are known."""
        opening = self.prompt.opening(bool(prefix.steps))
        asked = self.prompt.asked(prefix.question)
        fields = self._text(asked, prefix.said, prefix.history, opening)
        if not self.token_ids or not (self.dialect.returned_ids or self.dialect.tokenizes):
            return fields
        tokens = self._memory.recall(prefix)
        if tokens is None and self.dialect.tokenizes:
            request = {"content": fields["prompt"], "add_special": True, "parse_special": True}
            tokens = await self.server.ask("//tokenize", request, lambda raw: list(raw["tokens"]))
        if tokens:
            fields["prompt"] = tokens
        if self.dialect.returned_ids:
            fields[self.dialect.returned_ids] = True
        return fields

    def _text(
        self, asked: str, said: str, history: Sequence[Turn] = (), opening: str = ""
    ) -> dict[str, Any]:
        """The fields that hold the user's turn and what is said so far, as text."""
        if self.continuation is Continuation.COMPLETIONS:
            return self._rendered(asked, opening + said, history)
        if self.continuation is Continuation.USER_TURN:
            messages = self._messages(request(asked, said), history)
        else:
            said = opening + said
            messages = self._messages(asked, history)
            if said:
                messages.append({"role": "assistant", "content": said})
        fields: dict[str, Any] = {"messages": messages}
        if said and self.continuation is Continuation.PREFIX:
            messages[-1]["prefix"] = True
        if said and self.continuation is Continuation.CONTINUE_FINAL:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        match self.thinking_off:
            case ThinkingOff.TEMPLATE:
                fields["chat_template_kwargs"] = {"enable_thinking": False}
            case ThinkingOff.DISABLED:
                fields["thinking"] = {"type": "disabled"}
            case ThinkingOff.EFFORT:
                fields["reasoning_effort"] = "none"
        return fields

    def _rendered(self, asked: str, said: str, history: Sequence[Turn]) -> dict[str, Any]:
        if self.template is None:
            return {"prompt": Prefix(asked, history=tuple(history)).asked + SEPARATOR + said}
        settings: dict[str, Any] = {}
        if self.thinking_off is ThinkingOff.TEMPLATE:
            settings["enable_thinking"] = False
        text = self.template.render(self._messages(asked, history), **settings)
        if self.dialect.adds_begin:
            text = text.removeprefix(self.template.begin)
        fields: dict[str, Any] = {"prompt": text + said}
        if self.dialect.name == "vllm":
            fields["add_special_tokens"] = False
        return fields

    def _messages(self, asked: str, history: Sequence[Turn]) -> list[dict[str, Any]]:
        if self.thinking_off is ThinkingOff.NO_THINK:
            asked += " /no_think"
        return conversation(self.prompt.system, history, asked)

    def _sampled(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self.dialect.limit: sampling.max_tokens,
        }
        if self.dialect.top_k:
            fields["top_k"] = sampling.top_k or self.dialect.all_tokens
        if self.dialect.seed:
            fields[self.dialect.seed] = seed
        return fields

    def _told(self, likeliest: int) -> dict[str, Any]:
        if self.continuation is Continuation.COMPLETIONS:
            return {"logprobs": likeliest}
        return {"logprobs": True, "top_logprobs": likeliest}

    def _continued(self, text: str, said: str, opening: str = "") -> str:
        """What is new in an answer to a turn that begins with `opening` and goes on with `said`."""
        if self.continuation is Continuation.USER_TURN:
            return without_repeated(said, text)
        sent = opening + said
        kept = sent.rstrip()
        echoed = self.dialect.echoes and self.continuation is not Continuation.COMPLETIONS
        if echoed and kept and text.startswith(kept):
            return text.removeprefix(sent) if text.startswith(sent) else text.removeprefix(kept)
        return text

    def _first_step(self, text: str) -> str:
        """A step without the blank line that ends it; a chat template may have trimmed the one
        before it, so that the model begins with it."""
        if self.continuation is Continuation.COMPLETIONS:
            return text.partition(SEPARATOR)[0]
        return first_step(text)

    async def _spelled(self, answer: Response, beginning: str) -> str:
        """A step of which the server tells only the beginning: what its last token holds behind
        the stop string belongs to it."""
        spelled = "".join(token.text for token in answer.tokens)
        if spelled.startswith(beginning):
            return spelled
        if not (self.token_ids and self.dialect.tokenizes and answer.written_ids):
            return beginning
        # The stop string may begin in the token before the last one, and ends in the last.
        end = [await self._spelling(token) for token in answer.written_ids[-2:]]
        return with_rest(beginning, "".join(end))

    async def _spelling(self, token: int) -> str:
        """The text of one token, asked for once."""
        if token not in self._spellings:
            body = {"tokens": [token]}
            self._spellings[token] = await self.server.ask(
                "//detokenize", body, lambda raw: str(raw["content"])
            )
        return self._spellings[token]

    def _ending(self, answer: Response, text: str, said: str) -> Ending:
        """Why the step ended; where a server does not tell, an empty text was the end."""
        plain = self.continuation is Continuation.COMPLETIONS
        if SEPARATOR in (text if plain else text.strip("\n")):
            return Ending.STEP
        if answer.ending is Ending.LENGTH:
            return Ending.LENGTH
        asked_for_one = said and self.continuation is Continuation.USER_TURN
        if answer.ending is None or asked_for_one:
            return Ending.STEP if text.strip() else Ending.SOLUTION
        return answer.ending

    def _remember(self, prefix: Prefix, body: Mapping[str, Any], answer: Response) -> None:
        read = answer.prompt_ids or body.get("prompt")
        if self.token_ids and answer.written_ids and not isinstance(read, str | None):
            self._memory.remember(prefix, (*read, *answer.written_ids))
