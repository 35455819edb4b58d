// One camera in the overview: its latest picture, its state, and whether it is recorded. The whole tile is a link.

import { serverNow } from "../api/client";
import { namespaceOf, pathOf, type Camera, type Recording } from "../api/objects";
import { mediaInWords, recordingBadge, stateOf, type RecordingBadge, type State } from "../model/state";
import { ago, duration } from "../model/time";
import { cameraLink } from "../model/route";
import { h, icon, setAttribute, setText, type Component } from "./dom";
import { Pill } from "./parts";
import type { Snapshots } from "./snapshots";

export interface TileData {
  readonly camera: Camera;
  readonly recordings: readonly Recording[];
  /** Several namespaces are shown, so names alone do not tell cameras apart. */
  readonly showNamespace: boolean;
}

/** A picture older than this says its age: tiles of a big page are refreshed in turn. */
const FRESH_MS = 8_000;

export class Tile implements Component<TileData> {
  readonly element = h("a", { class: "tile" });
  readonly #image = h("img", { alt: "", draggable: "false" });
  readonly #picture = h("div", { class: "picture" });
  readonly #pill = new Pill();
  readonly #age = h("span", { class: "age" });
  readonly #name = h("span", { class: "tile-name" });
  readonly #namespace = h("span", { class: "tile-namespace" });
  readonly #recording = h("span", { class: "recording-badge" });
  readonly #recordingText = h("span");
  readonly #detail = h("div", { class: "tile-detail" });
  #state: State = { tone: "busy", label: "Starting", message: "" };
  #captured = 0;

  constructor(
    data: TileData,
    private readonly snapshots: Snapshots,
  ) {
    const { camera } = data;
    this.element.href = cameraLink(namespaceOf(camera), camera.metadata.name);
    this.element.dataset["camera"] = `${namespaceOf(camera)}/${camera.metadata.name}`;
    this.#image.hidden = true;
    this.#image.addEventListener("load", () => (this.#image.hidden = false));
    this.#recording.append(h("span", { class: "recording-dot", "aria-hidden": "true" }), this.#recordingText);
    this.#picture.append(icon("camera"), this.#image, this.#pill.element, this.#age);
    this.element.append(
      this.#picture,
      h(
        "div",
        { class: "tile-text" },
        h("div", { class: "tile-head" }, h("span", { class: "tile-title" }, this.#name, this.#namespace), this.#recording),
        this.#detail,
      ),
    );
    snapshots.add(this.element, {
      path: `${pathOf(camera)}/snapshot.jpg`,
      wanted: () => this.#state.tone !== "idle",
      show: (url, captured) => {
        this.#image.src = url;
        this.#captured = captured;
        this.tick();
      },
      miss: () => this.tick(),
    });
  }

  update({ camera, recordings, showNamespace }: TileData): void {
    const before = this.#state;
    this.#state = stateOf(camera);
    if (before.tone !== "ok" && this.#state.tone === "ok") this.snapshots.hurry(this.element);
    this.#pill.update(this.#state);
    setAttribute(this.element, "data-tone", this.#state.tone);
    setText(this.#name, camera.metadata.name);
    setText(this.#namespace, showNamespace ? namespaceOf(camera) : "");
    showBadge(this.#recording, this.#recordingText, recordingBadge(recordings));
    this.#detail.dataset["tone"] = this.#state.tone;
    if (this.#state.tone === "ok") setText(this.#detail, mediaInWords(camera).join(" · "));
    this.tick();
  }

  /** What changes with the clock alone. */
  tick(): void {
    const now = serverNow();
    const { tone, message, since } = this.#state;
    if (tone !== "ok") {
      const elapsed = since === undefined ? "" : `for ${duration(now - Date.parse(since))}`;
      const words = tone === "idle" ? `Stopped ${elapsed}` : [elapsed === "" ? "" : `${capital(elapsed)}:`, message].join(" ");
      setText(this.#detail, words.trim());
      setAttribute(this.#detail, "title", message === "" ? undefined : message);
    } else setAttribute(this.#detail, "title", undefined);
    const old = this.#captured > 0 && (now - this.#captured > FRESH_MS || tone !== "ok");
    setText(this.#age, old ? `Picture from ${ago(this.#captured, now)}` : "");
    this.#picture.classList.toggle("stale", tone !== "ok");
  }

  dispose(): void {
    this.snapshots.remove(this.element);
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Shows a recording badge, or hides it where nothing is to be recorded. */
export function showBadge(element: HTMLElement, text: HTMLElement, badge: RecordingBadge | undefined): void {
  element.hidden = badge === undefined;
  if (!badge) return;
  setAttribute(element, "data-tone", badge.tone);
  const hour = badge.tone === "ok" && badge.lastHour !== undefined ? badge.lastHour : undefined;
  setText(text, badge.tone === "ok" ? (hour ?? "Rec") : "Not recording");
  setAttribute(element, "title", hour === undefined ? badge.label : `Recording; ${hour} of the last full hour is held`);
}
