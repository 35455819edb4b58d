// The streams and recordings of a camera: how each is doing, where it is, and buttons to start, stop and restart it.

import { act, RequestError, type Action } from "../api/client";
import { keyOf, mediaPathOf, type Camera, type Recording, type Resource, type Stream } from "../api/objects";
import { noticesOf, outputInWords, percent, stateOf } from "../model/state";
import { manifestDuration } from "../model/time";
import { button, h, KeyedList, setAttribute, setText, type Component } from "./dom";
import { confirm, Pill, type Toasts } from "./parts";

/** Start, stop and restart of one object. */
export class Actions {
  readonly element = h("div", { class: "actions" });
  readonly #start: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #restart: HTMLButtonElement;
  #resource: Resource | undefined;
  #warning = "";

  constructor(
    private readonly toasts: Toasts,
    compact: boolean,
  ) {
    this.#start = button("play", "Start", () => void this.#do("start"), compact);
    this.#stop = button("stop", "Stop", () => void this.#askAndStop(), compact);
    this.#restart = button("restart", "Restart", () => void this.#do("restart"), compact);
    this.element.append(this.#restart, this.#stop, this.#start);
  }

  /** `warning` says what stopping would end; empty = nothing to ask. */
  update(resource: Resource, warning: string): void {
    this.#resource = resource;
    this.#warning = warning;
    const { label } = stateOf(resource);
    const isClip = resource.kind === "Recording" && resource.spec.clip !== undefined;
    const stopped = label === "Stopped";
    const over = label === "Complete" || (isClip && stopped);
    this.#start.hidden = !stopped || over;
    this.#stop.hidden = stopped || over;
    this.#restart.hidden = stopped || over || isClip;
  }

  async #askAndStop(): Promise<void> {
    const name = this.#resource?.metadata.name ?? "";
    if (this.#warning !== "" && !(await confirm(`Stop ${name}?`, this.#warning, "Stop"))) return;
    await this.#do("stop");
  }

  async #do(action: Action): Promise<void> {
    const resource = this.#resource;
    if (!resource) return;
    const buttons = [this.#start, this.#stop, this.#restart];
    for (const one of buttons) one.disabled = true;
    try {
      await act(resource, action);
      const done: Record<Action, string> = { start: "started", stop: "stopped", restart: "restarted" };
      this.toasts.show(`${resource.metadata.name} is being ${done[action]}.`);
    } catch (error) {
      this.toasts.show(error instanceof RequestError ? error.message : String(error), "bad");
    } finally {
      for (const one of buttons) one.disabled = false;
    }
  }
}

/** One stream or recording. */
class Row<T extends Stream | Recording> implements Component<T> {
  readonly element = h("li", { class: "row" });
  readonly #pill = new Pill();
  readonly #name = h("span", { class: "row-name" });
  readonly #detail = h("span", { class: "row-detail" });
  readonly #message = h("p", { class: "row-message" });
  readonly #links = h("div", { class: "row-links" });
  readonly #progress = h("progress", { max: "100" });
  readonly #actions: Actions;
  #linked = "";

  constructor(
    toasts: Toasts,
    private readonly describe: (item: T) => { detail: string; links: readonly Link[]; warning: string; progress?: number },
  ) {
    this.#actions = new Actions(toasts, true);
    this.element.append(
      h("div", { class: "row-head" }, h("div", { class: "row-title" }, this.#name, this.#pill.element), this.#actions.element),
      this.#detail,
      this.#progress,
      this.#message,
      this.#links,
    );
  }

  update(item: T): void {
    const state = stateOf(item);
    const { detail, links, warning, progress } = this.describe(item);
    setText(this.#name, item.metadata.name);
    setText(this.#detail, detail);
    this.#pill.update(state);
    this.#actions.update(item, warning);
    const notices = noticesOf(item).map(({ message }) => message);
    const message = [state.tone === "ok" || state.tone === "idle" ? "" : state.message, ...notices].filter(Boolean).join(" ");
    setText(this.#message, message);
    this.#message.hidden = message === "";
    this.#progress.hidden = progress === undefined;
    if (progress !== undefined) this.#progress.value = progress;
    setAttribute(this.#progress, "aria-label", progress === undefined ? undefined : `${progress} % done`);
    const linked = JSON.stringify(links);
    if (linked === this.#linked) return;
    this.#linked = linked;
    this.#links.hidden = links.length === 0;
    this.#links.replaceChildren(
      ...links.map(({ href, text, download }) => h("a", { href, text, download, target: download ? undefined : "_blank", rel: "noopener" })),
    );
  }
}

interface Link {
  readonly href: string;
  readonly text: string;
  readonly download?: boolean;
}

function describeStream(stream: Stream): { detail: string; links: readonly Link[]; warning: string } {
  if (stream.spec.output.push) {
    const watch = stream.status?.push?.watchUrl;
    return { detail: outputInWords(stream), links: watch === undefined ? [] : [{ href: watch, text: watch }], warning: "" };
  }
  const file = stream.spec.output.hls ? "index.m3u8" : "stream.mjpeg";
  const path = `${mediaPathOf(stream)}/${file}`;
  return { detail: outputInWords(stream), links: [{ href: path, text: path }], warning: "" };
}

function describeRecording(recording: Recording): { detail: string; links: readonly Link[]; warning: string; progress?: number } {
  const { continuous, clip, retention } = recording.spec;
  const kept = [
    retention?.maxAge === undefined ? "" : `kept ${manifestDuration(retention.maxAge)}`,
    retention?.maxSize === undefined ? "" : `at most ${retention.maxSize}`,
  ].filter(Boolean);
  if (continuous || !clip) {
    const { lastHour, lastDay } = recording.status?.coverage ?? {};
    const held = [
      lastHour === undefined ? "" : `${percent(lastHour)} of the last hour`,
      lastDay === undefined ? "" : `${percent(lastDay)} of the last day`,
    ].filter(Boolean);
    const warning = "There will be a gap in the recording until it is started again.";
    return { detail: ["Around the clock", ...held, ...kept].join(" · "), links: [], warning };
  }
  const complete = stateOf(recording).label === "Complete";
  const progress = recording.status?.progressPercent;
  const done = progress === undefined || complete ? "" : `${progress}\u202f% done`;
  const detail = [`Clip of ${manifestDuration(clip.duration ?? "90m")}`, done, ...kept].filter(Boolean).join(" · ");
  const links = complete ? [{ href: `${mediaPathOf(recording)}/clip.mp4`, text: "Save the clip", download: true }] : [];
  const warning = "The clip ends here and its file is completed. A clip cannot be continued.";
  return { detail, links, warning, ...(progress === undefined || complete ? {} : { progress }) };
}

/** Both lists. */
export class ObjectsList {
  readonly element = h("div", { class: "lists" });
  readonly #streams = listCard("Streams");
  readonly #recordings = listCard("Recordings");
  readonly #streamList: KeyedList<Stream>;
  readonly #recordingList: KeyedList<Recording>;
  readonly #noStreams = h("p", {
    class: "quiet",
    text: "None is declared: a Stream with output {hls: {}} makes this camera's live video playable everywhere.",
  });
  readonly #noRecordings = h("p", {
    class: "quiet",
    text: "None is declared: a Recording with continuous: {} records this camera around the clock.",
  });

  constructor(toasts: Toasts) {
    this.#streamList = new KeyedList(this.#streams.list, keyOf, () => new Row(toasts, describeStream));
    this.#recordingList = new KeyedList(this.#recordings.list, keyOf, () => new Row(toasts, describeRecording));
    this.#streams.card.append(this.#noStreams);
    this.#recordings.card.append(this.#noRecordings);
    this.element.append(this.#streams.card, this.#recordings.card);
  }

  update(streams: readonly Stream[], recordings: readonly Recording[]): void {
    this.#streamList.update(streams);
    this.#recordingList.update(recordings);
    this.#noStreams.hidden = streams.length > 0;
    this.#noRecordings.hidden = recordings.length > 0;
  }
}

function listCard(title: string): { card: HTMLElement; list: HTMLElement } {
  const list = h("ul", { class: "rows" });
  return { card: h("section", { class: "card" }, h("header", { class: "card-head" }, h("h2", { text: title })), list), list };
}

/** What stopping a camera would end, as a question needs it. */
export function warningOf(camera: Camera, recordings: readonly Recording[]): string {
  const running = recordings.filter((recording) => stateOf(recording).tone !== "idle").map(({ metadata }) => metadata.name);
  if (running.length === 0) return "";
  return `${camera.metadata.name} is being recorded (${running.join(", ")}). There will be a gap until the camera is started again.`;
}

