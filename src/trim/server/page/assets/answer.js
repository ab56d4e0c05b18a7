// The answer of a solution: its text as Markdown, which can be copied.

import { element } from "./element.js";
import { markdown } from "./markdown.js";
import { formula } from "./mathematics.js";

const TEX = /[\\^_{}]/;
const SHARE = 0.1; // Of the time, for showing a text that grows.
const COPIED = 2_000;

export class AnswerView {
  constructor(announce) {
    this.announce = announce;
    this.text = "";
    this.result = element("p", { class: "result", hidden: true });
    this.body = element("div", { class: "rendered" });
    this.button = element("button", { type: "button", class: "copy", hidden: true }, "Copy");
    this.button.addEventListener("click", () => this.copy());
    this.element = element("div", { class: "answer" }, this.result, this.body);
    this.next = 0;
  }

  // The text so far. A long one is shown rarely.
  grow(text) {
    this.text = text;
    if (performance.now() >= this.next) this.show();
  }

  finish(text, answer) {
    this.text = text;
    this.show();
    if (answer != null) {
      this.result.replaceChildren("Answer ", element("strong", {},
        TEX.test(answer) ? formula(answer, false, answer) : answer));
    }
    this.result.hidden = answer == null;
  }

  show() {
    const began = performance.now();
    this.body.replaceChildren(...markdown(this.text.trim()));
    this.button.hidden = !this.text;
    const now = performance.now();
    this.next = now + (now - began) / SHARE;
  }

  async copy() {
    const copied = await write(this.text.trim());
    this.button.textContent = copied ? "Copied" : "Not copied";
    this.announce(copied ? "The answer was copied." : "The browser did not allow copying.");
    setTimeout(() => { this.button.textContent = "Copy"; }, COPIED);
  }
}

// Browsers offer their clipboard to pages of this machine or by https only.
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const held = element("textarea", { class: "hidden", "aria-hidden": "true" });
    const focused = document.activeElement;
    held.value = text;
    document.body.append(held);
    held.select();
    const copied = document.execCommand("copy");
    held.remove();
    focused?.focus({ preventScroll: true });
    return copied;
  }
}
