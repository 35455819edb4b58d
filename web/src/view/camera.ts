// One camera, opened: its picture, live or recorded, how it is doing and why, what was recorded, its streams and recordings,
// its log.

import { serverNow } from "../api/client";
import { keyOf, namespaceOf, type Camera, type Recording, type Stream } from "../api/objects";
import { bestStream, isPlayable, mediaInWords, noticesOf, outputInWords, sourceOf, stateOf } from "../model/state";
import type { Store } from "../model/store";
import { duration } from "../model/time";
import { h, icon, setAttribute, setText } from "./dom";
import { History } from "./history";
import { Log } from "./log";
import { Actions, ObjectsList, warningOf } from "./objects_list";
import { Pill, showTime, type Toasts } from "./parts";
import { Player } from "./player";
import type { Snapshots } from "./snapshots";

export class CameraView {
  readonly element = h("main", { class: "camera", id: "content" });
  readonly #title = h("h1", { tabindex: "-1" });
  readonly #pill = new Pill();
  readonly #subtitle = h("p", { class: "subtitle" });
  readonly #actions: Actions;
  readonly #trouble = h("div", { class: "trouble", role: "status" });
  readonly #troubleText = h("p");
  readonly #troubleSince = h("p", { class: "quiet" });
  readonly #outputs = h("select", { class: "select", "aria-label": "Stream" });
  readonly #player: Player;
  readonly #history = new History();
  readonly #lists: ObjectsList;
  readonly #log = new Log();
  readonly #gone = h("section", { class: "empty" });
  readonly #body = h("div", { class: "camera-body" });
  readonly #ticker: ReturnType<typeof setInterval>;
  /** What the player was last told to show, so that it is told only what is new. */
  #playing = "";
  #wasOk = false;
  #chosen = "";

  constructor(
    private readonly store: Store,
    snapshots: Snapshots,
    toasts: Toasts,
    private readonly namespace: string,
    private readonly name: string,
    /** An instant to play, once it is known what there is. */
    private at: number | undefined,
  ) {
    this.#actions = new Actions(toasts, false);
    this.#player = new Player(snapshots);
    this.#lists = new ObjectsList(toasts);
    this.#trouble.append(icon("warning"), h("div", {}, this.#troubleText, this.#troubleSince));
    this.#gone.append(
      h("h2", { text: "There is no such camera" }),
      h("p", {}, h("code", { text: `${namespace}/${name}` }), " is not declared, or no longer."),
      h("p", {}, h("a", { href: "#/", text: "All cameras" })),
    );
    this.#outputs.addEventListener("change", () => {
      this.#chosen = this.#outputs.value;
      this.#showLive();
    });
    this.#body.append(
      h("div", { class: "camera-main" }, this.#trouble, this.#player.element, this.#history.element, this.#log.element),
      h("div", { class: "camera-side" }, this.#lists.element),
    );
    this.element.append(
      h(
        "div",
        { class: "camera-head" },
        h("a", { class: "button compact back", href: "#/", title: "All cameras" }, icon("back"), h("span", { class: "unseen", text: "All cameras" })),
        h("div", { class: "camera-title" }, h("div", { class: "camera-name" }, this.#title, this.#pill.element), this.#subtitle),
        h("span", { class: "spacer" }),
        this.#outputs,
        this.#actions.element,
      ),
      this.#body,
      this.#gone,
    );
    this.#history.onPlay = (recording, instant) => this.#showRecorded(recording, instant);
    this.#player.onLive = () => this.#showLive();
    this.#player.onPosition = (instant) => (this.#history.position = instant);
    this.#ticker = setInterval(() => this.#tick(), 1_000);
    this.update();
  }

  /** Plays the recording at an instant; what a link with a time asks for. */
  goTo(at: number): void {
    const camera = this.#camera();
    const recording = camera && this.store.recordingsOf(camera).find(({ spec }) => spec.continuous);
    if (!recording) return;
    this.#history.reveal(at);
    this.#showRecorded(recording, at);
  }

  dispose(): void {
    clearInterval(this.#ticker);
    this.#player.dispose();
    this.#history.dispose();
    this.#log.dispose();
  }

  #camera(): Camera | undefined {
    return this.store.camera(this.namespace, this.name);
  }

  update(): void {
    const camera = this.#camera();
    this.#gone.hidden = camera !== undefined || !this.store.loaded;
    this.#body.hidden = camera === undefined;
    this.#actions.element.hidden = camera === undefined;
    setText(this.#title, this.name);
    document.title = `${this.name} · camera-operator`;
    if (!camera) {
      this.#player.dispose();
      this.#playing = "";
      return;
    }
    const streams = this.store.streamsOf(camera);
    const recordings = this.store.recordingsOf(camera);
    const state = stateOf(camera);
    this.#pill.update(state);
    const source = sourceOf(camera);
    const words = [namespaceOf(camera) === "default" ? "" : namespaceOf(camera), ...mediaInWords(camera)];
    const sound = camera.status?.media?.audioCodec;
    if (sound !== undefined) words.push(`${sound} sound`);
    words.push(source.kind === "test" ? "test picture" : source.address || source.kind.toUpperCase());
    setText(this.#subtitle, words.filter(Boolean).join(" · "));
    this.#actions.update(camera, warningOf(camera, recordings));
    const notices = noticesOf(camera).map(({ message }) => message);
    const code = state.code === undefined ? "" : ` (code ${state.code})`;
    const trouble = state.tone === "ok" ? notices.join(" ") : `${state.label}${code}. ${[state.message, ...notices].join(" ")}`;
    setText(this.#troubleText, trouble.trim());
    this.#trouble.hidden = trouble === "" || (state.tone === "busy" && state.message === "");
    setAttribute(this.#trouble, "data-tone", state.tone === "ok" ? "warning" : state.tone);
    this.#player.notice = state.tone === "ok" ? "" : state.tone === "idle" ? "Stopped" : state.label;
    this.#showOutputs(streams.filter(isPlayable));
    this.#history.update(recordings);
    this.#lists.update(streams, recordings);
    this.#log.update([camera, ...streams, ...recordings]);
    const cameBack = state.tone === "ok" && !this.#wasOk;
    this.#wasOk = state.tone === "ok";
    if (this.at !== undefined) {
      const instant = this.at;
      this.at = undefined;
      this.goTo(instant);
    }
    if (this.#player.mode === "live") this.#showLive(cameBack);
    this.#tick();
  }

  #showOutputs(streams: readonly Stream[]): void {
    const keys = streams.map(keyOf);
    if ([...this.#outputs.options].map(({ value }) => value).join() !== keys.join()) {
      this.#outputs.replaceChildren(
        ...streams.map((stream) => h("option", { value: keyOf(stream), text: `${stream.metadata.name} (${outputInWords(stream)})` })),
      );
    }
    this.#outputs.hidden = streams.length < 2;
    if (!keys.includes(this.#chosen)) this.#chosen = "";
    const shown = this.#stream(streams);
    if (shown) this.#outputs.value = keyOf(shown);
  }

  #stream(streams: readonly Stream[]): Stream | undefined {
    return streams.find((stream) => keyOf(stream) === this.#chosen) ?? bestStream(streams);
  }

  /** Shows the live picture, unless it is shown already. */
  #showLive(anew = false): void {
    const camera = this.#camera();
    if (!camera) return;
    const stream = this.#stream(this.store.streamsOf(camera));
    const playing = `live ${stream ? `${keyOf(stream)} ${stream.metadata.generation ?? ""}` : ""}`;
    if (playing === this.#playing && !anew) return;
    this.#playing = playing;
    this.#history.position = undefined;
    this.#player.showLive(camera, stream, camera.status?.media?.audioCodec !== undefined);
  }

  #showRecorded(recording: Recording, instant: number): void {
    this.#playing = "recorded";
    this.#history.position = instant;
    const sound = this.#camera()?.status?.media?.audioCodec !== undefined;
    this.#player.showRecorded(recording, instant, serverNow, sound);
  }

  #tick(): void {
    const camera = this.#camera();
    if (!camera) return;
    const { since, tone } = stateOf(camera);
    this.#troubleSince.hidden = since === undefined || tone === "ok";
    if (since === undefined) return;
    const element = h("time");
    showTime(element, Date.parse(since));
    this.#troubleSince.replaceChildren("Since ", element, `, for ${duration(serverNow() - Date.parse(since))}.`);
  }

  /** Puts the keyboard where the view begins. */
  focus(): void {
    this.#title.focus({ preventScroll: true });
  }
}
