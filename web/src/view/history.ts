// What was recorded of a camera: the timeline, figures on it, its gaps, and saving a part as one file.

import { coverage as fetchCoverage, exportUrl, request, RequestError, serverNow } from "../api/client";
import { keyOf, type Recording } from "../api/objects";
import { parseCoverage, playableFrom, ratioInWords, summarize, unwantedGaps, type Coverage, type Span } from "../model/coverage";
import { reasonInWords, toneOfReason } from "../model/state";
import { DAY, duration, fromLocalInput, HOUR, MINUTE, toLocalInput } from "../model/time";
import { button, h, setAttribute, setText } from "./dom";
import { time } from "./parts";
import { Timeline } from "./timeline";

const LENGTHS: readonly { readonly label: string; readonly length: number }[] = [
  { label: "1 h", length: HOUR },
  { label: "6 h", length: 6 * HOUR },
  { label: "24 h", length: DAY },
  { label: "7 d", length: 7 * DAY },
];
const REFRESH_MS = 20_000;
/** The list of gaps shows the newest of them. */
const LISTED_GAPS = 8;

export class History {
  readonly element = h("section", { class: "card history", "aria-label": "Recorded" });
  /** Somebody asks to play a recording at an instant. */
  onPlay: (recording: Recording, instant: number) => void = () => undefined;

  readonly #timeline = new Timeline();
  readonly #choice = h("select", { class: "select", "aria-label": "Recording" });
  readonly #lengths = h("div", { class: "segments", role: "group", "aria-label": "Time shown" });
  readonly #later = button("later", "Later", () => this.#shift(1), true);
  readonly #figures = h("p", { class: "figures" });
  readonly #gaps = h("ul", { class: "gaps" });
  readonly #from = h("input", { type: "datetime-local", step: "1", "aria-label": "From" });
  readonly #to = h("input", { type: "datetime-local", step: "1", "aria-label": "To" });
  readonly #length = h("span", { class: "quiet" });
  readonly #download = button("download", "Save as MP4", () => void this.#save());
  readonly #problem = h("p", { class: "problem", role: "alert" });

  #recordings: readonly Recording[] = [];
  #recording: Recording | undefined;
  #shown = DAY;
  /** Where the shown span ends; nothing = now, and it moves. */
  #end: number | undefined;
  #coverage: Coverage | undefined;
  #selection: Span | undefined;
  #loading: AbortController | undefined;
  readonly #timers: ReturnType<typeof setInterval>[] = [];

  constructor() {
    for (const { label, length } of LENGTHS) {
      this.#lengths.append(
        h("button", { type: "button", text: label, "data-length": length, on: { click: () => this.#zoom(length) } }),
      );
    }
    this.#choice.addEventListener("change", () => {
      this.#recording = this.#recordings.find((recording) => keyOf(recording) === this.#choice.value);
      this.#coverage = undefined;
      this.#load();
    });
    this.#timeline.onSeek = (instant) => this.#seek(instant);
    this.#timeline.onSelect = (span) => this.#select(span);
    for (const input of [this.#from, this.#to]) {
      input.addEventListener("change", () => {
        this.#selection = { from: fromLocalInput(this.#from.value), to: fromLocalInput(this.#to.value) };
        this.#timeline.selection = this.#selection;
        this.#showLength();
      });
    }
    this.element.append(
      h(
        "header",
        { class: "card-head" },
        h("h2", { text: "Recorded" }),
        this.#choice,
        h("span", { class: "spacer" }),
        this.#lengths,
        button("earlier", "Earlier", () => this.#shift(-1), true),
        this.#later,
      ),
      this.#timeline.element,
      this.#figures,
      this.#gaps,
      h(
        "div",
        { class: "save" },
        h("span", { class: "save-label", text: "Save a part" }),
        this.#from,
        h("span", { class: "quiet", text: "to" }),
        this.#to,
        this.#length,
        h("span", { class: "spacer" }),
        this.#download,
      ),
      this.#problem,
    );
    this.#problem.hidden = true;
    this.#timers.push(
      setInterval(() => this.#load(), REFRESH_MS),
      setInterval(() => {
        if (this.#end === undefined) this.#timeline.window = this.#span();
      }, 5_000),
    );
  }

  dispose(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#loading?.abort();
  }

  /** The recordings that there are to look at; the choice stays where it can. */
  update(recordings: readonly Recording[]): void {
    this.#recordings = recordings;
    this.element.hidden = recordings.length === 0;
    const keys = recordings.map(keyOf);
    if ([...this.#choice.options].map(({ value }) => value).join() !== keys.join()) {
      this.#choice.replaceChildren(
        ...recordings.map((recording) => h("option", { value: keyOf(recording), text: recording.metadata.name })),
      );
    }
    const before = this.#recording ? keyOf(this.#recording) : undefined;
    const preferred = recordings.find((recording) => recording.spec.continuous) ?? recordings[0];
    this.#recording = recordings.find((recording) => keyOf(recording) === before) ?? preferred;
    this.#choice.hidden = recordings.length < 2;
    if (this.#recording) this.#choice.value = keyOf(this.#recording);
    if (this.#recording && keyOf(this.#recording) !== before) {
      const now = serverNow();
      this.#select({ from: now - 5 * MINUTE, to: now }, false);
      this.#load();
    }
  }

  /** The instant that is played; nothing while live. */
  set position(position: number | undefined) {
    this.#timeline.position = position;
  }

  /** Shows the time around an instant, for a link that points there. */
  reveal(instant: number): void {
    const now = serverNow();
    if (instant < now - this.#shown) this.#end = Math.min(now, instant + this.#shown / 2);
    this.#load();
  }

  #span(): Span {
    const to = this.#end ?? serverNow();
    return { from: to - this.#shown, to };
  }

  #zoom(length: number): void {
    this.#shown = length;
    this.#load();
  }

  #shift(direction: -1 | 1): void {
    const now = serverNow();
    const end = (this.#end ?? now) + direction * this.#shown * 0.5;
    this.#end = end >= now ? undefined : end;
    this.#load();
  }

  #load(): void {
    const recording = this.#recording;
    if (!recording || document.hidden) return;
    const span = this.#span();
    this.#timeline.window = span;
    this.#later.disabled = this.#end === undefined;
    for (const one of this.#lengths.children) {
      setAttribute(one, "aria-pressed", String(Number((one as HTMLElement).dataset["length"]) === this.#shown));
    }
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    fetchCoverage(recording, span.from, span.to, loading.signal)
      .then((answer) => {
        this.#coverage = parseCoverage(answer);
        this.#timeline.coverage = this.#coverage;
        this.#describe(this.#coverage);
      })
      .catch((error: unknown) => {
        if (loading.signal.aborted) return;
        // A recording without any file yet is not known to the archive.
        const none = error instanceof RequestError && error.status === 404;
        this.#gaps.hidden = true;
        setText(this.#figures, none ? "Nothing has been recorded yet." : error instanceof Error ? error.message : String(error));
      });
  }

  #describe(coverage: Coverage): void {
    const { ratio, expected, missing, gaps } = summarize(coverage);
    if (expected <= 0) {
      setText(this.#figures, "Nothing was recorded in this time.");
    } else {
      const whole = expected >= (coverage.to - coverage.from) * 0.999;
      const share = h("strong", { text: ratioInWords(ratio) });
      const span = `${whole ? "of" : "of the"} ${duration(expected)}${whole ? "" : " since recording began"}`;
      const rest = gaps === 0 ? ", without a gap" : `; ${gaps} ${gaps === 1 ? "gap" : "gaps"}, ${duration(missing)} missing`;
      this.#figures.replaceChildren(share, ` recorded ${span}${rest}.`);
    }
    const newest = unwantedGaps(coverage).slice(-LISTED_GAPS).reverse();
    this.#gaps.hidden = newest.length === 0;
    this.#gaps.replaceChildren(
      ...newest.map((gap) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "gap-row", title: "Play what came before it", on: { click: () => this.#seek(gap.from - 10_000) } },
            h("span", { class: "dot", "data-tone": toneOfReason(gap.reason), "aria-hidden": "true" }),
            h("span", { class: "gap-time" }, ...times(gap)),
            h("span", { class: "gap-length", text: duration(gap.to - gap.from) }),
            h("span", { class: "gap-reason", text: reasonInWords(gap.reason) }),
          ),
        ),
      ),
    );
  }

  #seek(instant: number): void {
    if (!this.#recording) return;
    const playable = this.#coverage ? playableFrom(this.#coverage, instant) : instant;
    this.#problem.hidden = playable !== undefined;
    if (playable === undefined) setText(this.#problem, "Nothing was recorded from there until now.");
    else this.onPlay(this.#recording, playable);
  }

  #select(span: Span, visible = true): void {
    this.#selection = span;
    this.#from.value = toLocalInput(span.from);
    this.#to.value = toLocalInput(span.to);
    this.#timeline.selection = visible ? span : undefined;
    this.#showLength();
  }

  #showLength(): void {
    const span = this.#selection;
    const length = span ? span.to - span.from : Number.NaN;
    setText(this.#length, length > 0 ? duration(length) : "The end must come after the beginning.");
    this.#download.disabled = !(length > 0);
    this.#problem.hidden = true;
  }

  /** Asks first whether there is such a file, so that an error is a sentence here and not a broken download. */
  async #save(): Promise<void> {
    const [recording, span] = [this.#recording, this.#selection];
    if (!recording || !span) return;
    this.#download.disabled = true;
    this.#problem.hidden = true;
    const url = exportUrl(recording, span.from, span.to);
    try {
      await request(url, { headers: { range: "bytes=0-0" } }).then((response) => response.body?.cancel());
      download(url);
    } catch (error) {
      this.#explain(recording, error);
    } finally {
      this.#download.disabled = false;
    }
  }

  #explain(recording: Recording, error: unknown): void {
    const spans = error instanceof RequestError ? error.problem["spans"] : undefined;
    this.#problem.replaceChildren(error instanceof Error ? error.message : String(error));
    if (Array.isArray(spans)) {
      for (const part of spans as { from: string; to: string }[]) {
        const span = { from: Date.parse(part.from), to: Date.parse(part.to) };
        if (!(span.to > span.from)) continue;
        const link = h("a", { href: exportUrl(recording, span.from, span.to), download: true });
        link.append(...times(span));
        this.#problem.append(" ", link);
      }
    }
    this.#problem.hidden = false;
  }
}

/** Both ends of a span; the day stands once where it is the same. */
function times(span: Span): (Node | string)[] {
  return [time(span.from), " – ", time(span.to, span.from)];
}

/** Saves what is at an address, under the name that the server gives it. */
function download(url: string): void {
  const link = h("a", { href: url, download: true });
  document.body.append(link);
  link.click();
  link.remove();
}
