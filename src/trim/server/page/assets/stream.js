// Requests to the server, and the events of a solution.

import { authorization } from "./key.js";

const UNREACHABLE = "The server does not answer. Is it still running?";
const CUT = "The connection was cut before the answer was complete.";

// An error message of one line; `status` and `code` are the API's if the server responded.
export class ServerError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...options.headers, ...authorization() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(UNREACHABLE);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  const { message, code } = body?.error ?? {};
  throw new ServerError(message ?? `The server responded with ${answer.status}.`, answer.status, code);
}

// Yields the events of a solution until it has finished; aborting `signal` cancels the work.
export async function* solution(body, signal) {
  const answer = await request("/page/solutions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  for await (const event of events(answer.body)) {
    if (event.event === "failed") throw new ServerError(event.error.message, 503, event.error.code);
    yield event;
    if (event.event === "finished") return;
  }
  throw new ServerError(CUT);
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (held + value).split("\n\n");
      held = parts.pop();
      for (const part of parts) yield JSON.parse(part.slice("data: ".length));
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(CUT);
  } finally {
    reader.cancel().catch(() => {});
  }
}
