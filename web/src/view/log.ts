// The newest log lines of a camera and of its streams and recordings, in one list by time. Fetched while it is open only, one
// after the other, so that it never takes more than one connection.

import { logs } from "../api/client";
import { keyOf, type Resource } from "../api/objects";
import { h } from "./dom";
import { time } from "./parts";

const REFRESH_MS = 4_000;

interface Line {
  readonly at: number;
  readonly level: string;
  readonly source: string;
  readonly message: string;
}

export class Log {
  readonly element = h("details", { class: "card log" });
  readonly #lines = h("div", { class: "log-lines", role: "log", tabindex: "0", "aria-label": "Log lines" });
  #resources: readonly Resource[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #loading = new AbortController();
  #shown = "";

  constructor() {
    this.element.append(h("summary", {}, h("h2", { text: "Log" })), this.#lines);
    this.element.addEventListener("toggle", () => this.#refresh());
  }

  update(resources: readonly Resource[]): void {
    this.#resources = resources;
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#loading.abort();
  }

  #refresh(): void {
    clearTimeout(this.#timer);
    this.#loading.abort();
    if (!this.element.open) return;
    const loading = new AbortController();
    this.#loading = loading;
    void this.#load(loading.signal).finally(() => {
      if (!loading.signal.aborted) this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
    });
  }

  async #load(signal: AbortSignal): Promise<void> {
    const lines: Line[] = [];
    for (const resource of this.#resources) {
      // An object that is gone, or a server that is: the lines of the others are still worth showing.
      const items = await logs(resource, signal).catch(() => []);
      if (signal.aborted) return;
      const source = `${resource.kind} ${resource.metadata.name}`;
      for (const { at, level, message } of items) lines.push({ at: Date.parse(at), level, source, message });
    }
    lines.sort((one, other) => one.at - other.at);
    this.#show(lines);
  }

  #show(lines: readonly Line[]): void {
    const last = lines.at(-1);
    const shown = `${lines.length} ${last?.at ?? 0} ${this.#resources.map(keyOf).join()}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const box = this.#lines;
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
    box.replaceChildren(
      ...(lines.length === 0 ? [h("p", { class: "quiet", text: "Nothing has been logged yet." })] : lines.map(lineElement)),
    );
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}

function lineElement({ at, level, source, message }: Line): HTMLElement {
  return h(
    "div",
    { class: "log-line", "data-level": level },
    time(at),
    h("span", { class: "log-source", text: source }),
    h("span", { class: "log-message", text: message }),
  );
}
