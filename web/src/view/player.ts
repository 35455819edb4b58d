// Plays one camera: live by HLS (hls.js, or the browser itself where it can), by MJPEG, or picture by picture where no stream
// is declared; or a recorded span. Must not know of the page around it.

import type Hls from "hls.js";
import { playlistUrl, serverNow } from "../api/client";
import { mediaPathOf, pathOf, type Camera, type Recording, type Stream } from "../api/objects";
import { HOUR } from "../model/time";
import { positionOf } from "../model/playback";
import { button, h, icon, setAttribute, setText } from "./dom";
import { showTime } from "./parts";
import type { Snapshots } from "./snapshots";

export type Mode = "live" | "recorded";

type What = { readonly live: true; readonly lowLatency: boolean } | { readonly live: false; readonly at: number };

/** A recorded span is played in stretches of this length, one after the other. */
const STRETCH_MS = HOUR;
const RETRY_MS = 2_000;

export class Player {
  readonly element = h("section", { class: "player", "aria-label": "Player", tabindex: "0" });
  /** Told the instant that is shown, about twice a second, while a recorded picture moves. */
  onPosition: (instant: number) => void = () => undefined;
  /** Told when somebody asks to go back to the live picture. */
  onLive: () => void = () => undefined;

  readonly #screen = h("div", { class: "screen" });
  readonly #video = h("video", { playsinline: true, muted: true, autoplay: true });
  readonly #image = h("img", { alt: "", draggable: "false" });
  readonly #message = h("div", { class: "screen-message", role: "status" });
  readonly #play = button("pause", "Pause", () => this.#togglePlay(), true);
  readonly #mute = button("mute", "Sound on", () => this.#toggleMute(), true);
  readonly #full = button("full", "Full screen", () => this.#toggleFull(), true);
  readonly #save = h("a", { class: "button compact", download: true, title: "Save this camera's latest picture" });
  readonly #status = h("div", { class: "player-status" });
  readonly #statusText = h("span");
  readonly #statusTime = h("time");
  readonly #toLive = h("button", { type: "button", class: "button small", text: "Go live", on: { click: () => this.#goLive() } });
  readonly #speed = h("select", { class: "select", "aria-label": "Speed" });

  #mode: Mode = "live";
  #hls: Hls | undefined;
  #cleanUp: (() => void)[] = [];
  /** Counts what is shown, so that what was asked for earlier cannot come in late. */
  #showing = 0;
  #notice = "";
  #problem = "";
  #url = "";

  constructor(private readonly snapshots: Snapshots) {
    this.#video.muted = true;
    for (const speed of [1, 2, 4, 8]) this.#speed.append(h("option", { value: speed, text: `${speed}×` }));
    this.#speed.addEventListener("change", () => (this.#video.playbackRate = Number(this.#speed.value)));
    this.#save.append(icon("camera"), h("span", { class: "unseen", text: "Save the latest picture" }));
    this.#status.append(h("span", { class: "live-dot", "aria-hidden": "true" }), this.#statusText, this.#statusTime);
    this.#screen.append(this.#video, this.#image, this.#message);
    this.element.append(
      this.#screen,
      h(
        "div",
        { class: "player-bar" },
        this.#play,
        this.#status,
        this.#toLive,
        h("span", { class: "spacer" }),
        this.#speed,
        this.#mute,
        this.#save,
        this.#full,
      ),
    );
    for (const type of ["play", "pause", "volumechange", "playing", "waiting", "loadeddata"] as const) {
      this.#video.addEventListener(type, () => this.#update());
    }
    this.#screen.addEventListener("click", () => this.#togglePlay());
    this.#screen.addEventListener("dblclick", () => this.#toggleFull());
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Something to say over the picture: why it does not move. Empty = nothing. */
  set notice(notice: string) {
    if (notice === this.#notice) return;
    this.#notice = notice;
    this.#update();
  }

  get mode(): Mode {
    return this.#mode;
  }

  /** Shows the camera as it is now, through `stream` where there is one. */
  showLive(camera: Camera, stream: Stream | undefined, hasSound: boolean): void {
    const showing = this.#reset("live", hasSound);
    this.#save.href = `${pathOf(camera)}/snapshot.jpg`;
    this.#save.setAttribute("download", `${camera.metadata.name}.jpg`);
    this.element.dataset["output"] = stream?.spec.output.hls ? "hls" : stream?.spec.output.mjpeg ? "mjpeg" : "pictures";
    if (stream?.spec.output.hls) {
      this.#video.poster = `${pathOf(camera)}/snapshot.jpg`;
      this.#url = `${mediaPathOf(stream)}/index.m3u8`;
      this.#load(showing, { live: true, lowLatency: stream.spec.output.hls.lowLatency === true });
    } else if (stream?.spec.output.mjpeg) {
      this.#showMjpeg(showing, `${mediaPathOf(stream)}/stream.mjpeg`);
    } else {
      this.#showPictures(camera);
    }
  }

  /** Shows what was recorded at `at` and after it, up to `until` (milliseconds since the epoch). */
  showRecorded(recording: Recording, at: number, until: () => number, hasSound: boolean): void {
    const showing = this.#reset("recorded", hasSound);
    this.element.dataset["output"] = "hls";
    const to = Math.min(at + STRETCH_MS, until());
    this.#url = playlistUrl(recording, at, Math.max(to, at + 1_000));
    const goOn = (): void => {
      if (showing !== this.#showing) return;
      if (to < until() - 5_000) this.showRecorded(recording, to, until, hasSound);
      else this.onLive();
    };
    this.#video.addEventListener("ended", goOn, { once: true });
    this.#cleanUp.push(() => this.#video.removeEventListener("ended", goOn));
    this.#load(showing, { live: false, at });
  }

  /** Ends everything that loads or moves. */
  dispose(): void {
    this.#reset("live", false);
  }

  #reset(mode: Mode, hasSound: boolean): number {
    this.#showing += 1;
    this.#hls?.destroy();
    this.#hls = undefined;
    for (const cleanUp of this.#cleanUp.splice(0)) cleanUp();
    this.#video.removeAttribute("src");
    this.#video.removeAttribute("poster");
    this.#video.load();
    this.#video.hidden = false;
    this.#image.hidden = true;
    this.#image.removeAttribute("src");
    this.#mode = mode;
    this.#problem = "";
    // The time of what was shown before says nothing of what comes.
    this.#statusTime.dateTime = "";
    setText(this.#statusTime, "");
    this.#mute.hidden = !hasSound;
    this.#update();
    return this.#showing;
  }

  #load(showing: number, what: What): void {
    import("hls.js").then(
      ({ default: HlsPlayer }) => {
        if (showing === this.#showing) this.#loadWith(HlsPlayer, showing, what);
      },
      () => {
        this.#problem = "The player could not be loaded; reload the page.";
        this.#update();
      },
    );
  }

  #loadWith(HlsPlayer: typeof Hls, showing: number, what: What): void {
    const ticker = setInterval(() => this.#tick(), 500);
    this.#cleanUp.push(() => clearInterval(ticker));
    if (!HlsPlayer.isSupported()) {
      this.#loadNatively(showing);
      return;
    }
    const hls = new HlsPlayer({
      autoStartLoad: what.live,
      lowLatencyMode: what.live && what.lowLatency,
      maxLiveSyncPlaybackRate: what.live && what.lowLatency ? 1.1 : 1,
      backBufferLength: 30,
      // No captions and no cues are shown here; making them takes a `data:` URL, which the security policy refuses.
      enableDateRangeMetadataCues: false,
      enableID3MetadataCues: false,
      enableEmsgMetadataCues: false,
      enableWebVTT: false,
      enableIMSC1: false,
      enableCEA708Captions: false,
      // The page tries again by itself and says why meanwhile.
      manifestLoadPolicy: {
        default: { maxTimeToFirstByteMs: 20_000, maxLoadTimeMs: 20_000, timeoutRetry: null, errorRetry: null },
      },
    });
    this.#hls = hls;
    // A busy machine that has fallen behind goes on at the live edge, not ever later. Set here, because among the settings above
    // it would ask for a fixed distance from the edge too, in place of the one that the playlist wants.
    if (what.live) hls.config.liveMaxLatencyDurationCount = 8;
    const again = (delay: number): void => {
      const timer = setTimeout(() => {
        if (showing === this.#showing) hls.loadSource(this.#url);
      }, delay);
      this.#cleanUp.push(() => clearTimeout(timer));
    };
    let recovered = 0;
    hls.on(HlsPlayer.Events.ERROR, (_, error) => {
      if (!error.fatal || showing !== this.#showing) return;
      const { ErrorDetails, ErrorTypes } = HlsPlayer;
      if (error.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR || error.details === ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR || error.details === ErrorDetails.BUFFER_ADD_CODEC_ERROR) {
        this.#problem = "This browser cannot decode this camera's video (H.265 needs Safari, Edge, or hardware support).";
        hls.destroy();
      } else if (error.type === ErrorTypes.MEDIA_ERROR && Date.now() - recovered > 5_000) {
        recovered = Date.now();
        hls.recoverMediaError();
      } else if (what.live) {
        again(RETRY_MS);
      } else {
        const status = error.response?.code ?? 0;
        this.#problem = status === 404 ? "Nothing was recorded here." : "The recording cannot be loaded; trying again.";
        if (status !== 404) again(RETRY_MS);
      }
      this.#update();
    });
    hls.on(HlsPlayer.Events.MANIFEST_PARSED, () => {
      this.#problem = "";
      void this.#start();
    });
    if (!what.live) {
      hls.once(HlsPlayer.Events.LEVEL_LOADED, (_, { details }) => {
        if (details.fragments.length === 0) {
          this.#problem = "Nothing was recorded here.";
          this.#update();
          return;
        }
        hls.startLoad(positionOf(details.fragments, what.at));
      });
    }
    hls.loadSource(this.#url);
    hls.attachMedia(this.#video);
  }

  #loadNatively(showing: number): void {
    const again = (): void => {
      const timer = setTimeout(() => {
        if (showing === this.#showing) this.#video.src = this.#url;
      }, RETRY_MS);
      this.#cleanUp.push(() => clearTimeout(timer));
    };
    this.#video.addEventListener("error", again);
    this.#cleanUp.push(() => this.#video.removeEventListener("error", again));
    this.#video.src = this.#url;
    void this.#start();
  }

  async #start(): Promise<void> {
    this.#video.playbackRate = this.#mode === "recorded" ? Number(this.#speed.value) : 1;
    // A browser that refuses to play by itself leaves the button.
    await this.#video.play().catch(() => undefined);
    this.#update();
  }

  #showMjpeg(showing: number, path: string): void {
    this.#video.hidden = true;
    this.#image.hidden = false;
    const again = (): void => {
      const timer = setTimeout(() => {
        // The same address would be taken from the failed request.
        if (showing === this.#showing) this.#image.src = `${path}?again=${Date.now()}`;
      }, RETRY_MS);
      this.#cleanUp.push(() => clearTimeout(timer));
    };
    this.#image.addEventListener("error", again);
    this.#cleanUp.push(() => this.#image.removeEventListener("error", again));
    this.#image.src = path;
    this.#update();
  }

  #showPictures(camera: Camera): void {
    this.#video.hidden = true;
    this.#image.hidden = false;
    this.snapshots.add(this.element, {
      path: `${pathOf(camera)}/snapshot.jpg`,
      wanted: () => true,
      show: (url) => (this.#image.src = url),
      miss: () => undefined,
    });
    this.#cleanUp.push(() => this.snapshots.remove(this.element));
    this.#update();
  }

  /** The instant of the picture on the screen, where the playlist tells it. */
  #instant(): number | undefined {
    const fromHls = this.#hls?.playingDate?.getTime();
    if (fromHls !== undefined) return fromHls;
    const start = (this.#video as HTMLVideoElement & { getStartDate?: () => Date }).getStartDate?.().getTime();
    return start === undefined || Number.isNaN(start) ? undefined : start + this.#video.currentTime * 1_000;
  }

  #tick(): void {
    const instant = this.#instant();
    if (this.#mode === "recorded") {
      if (instant !== undefined) {
        showTime(this.#statusTime, instant);
        this.onPosition(instant);
      }
      return;
    }
    if (this.#notice !== "") return;
    const behind = instant === undefined ? this.#hls?.latency : (serverNow() - instant) / 1_000;
    const known = behind !== undefined && behind > 0 && behind < 3_600 && this.#video.readyState >= 2;
    setText(this.#statusText, known ? `Live, ${behind.toFixed(1)} s behind` : "Live");
    const far = known && behind > (this.#hls?.targetLatency ?? 10) + 10;
    this.#toLive.hidden = !(far || (this.#video.paused && known));
  }

  #update(): void {
    const picturesOnly = this.#image.hidden === false;
    const { paused, muted } = this.#video;
    this.element.dataset["mode"] = this.#mode;
    this.element.dataset["live"] = String(this.#mode === "live" && this.#notice === "");
    this.#play.hidden = picturesOnly;
    this.#play.firstElementChild?.replaceWith(icon(paused ? "play" : "pause"));
    setText(this.#play.lastElementChild as Element, paused ? "Play" : "Pause");
    setAttribute(this.#play, "title", paused ? "Play" : "Pause");
    this.#mute.firstElementChild?.replaceWith(icon(muted ? "mute" : "sound"));
    setText(this.#mute.lastElementChild as Element, muted ? "Sound on" : "Sound off");
    setAttribute(this.#mute, "title", muted ? "Sound on" : "Sound off");
    this.#speed.hidden = this.#mode === "live";
    this.#save.hidden = this.#mode === "recorded";
    this.#statusTime.hidden = this.#mode === "live";
    if (this.#mode === "recorded") {
      setText(this.#statusText, "Recorded");
      this.#toLive.hidden = false;
    } else if (this.#notice !== "") {
      setText(this.#statusText, "Not live");
      this.#toLive.hidden = true;
    } else if (picturesOnly) {
      const output = this.element.dataset["output"];
      setText(this.#statusText, output === "mjpeg" ? "Live (MJPEG)" : "One picture a second: no Stream is declared for this camera");
      this.#toLive.hidden = true;
    } else if (this.#video.readyState < 2) {
      setText(this.#statusText, "Live");
      this.#toLive.hidden = true;
    }
    const loading = !picturesOnly && this.#video.readyState < 2 && !this.#video.poster;
    const message = this.#problem || (this.#mode === "live" ? this.#notice : "") || (loading ? "Loading…" : "");
    setText(this.#message, message);
    this.#message.hidden = message === "";
    this.#screen.classList.toggle("dimmed", this.#notice !== "" && this.#mode === "live");
  }

  #goLive(): void {
    if (this.#mode === "recorded") {
      this.onLive();
      return;
    }
    const edge = this.#hls?.liveSyncPosition;
    if (edge !== null && edge !== undefined) this.#video.currentTime = edge;
    void this.#start();
  }

  #togglePlay(): void {
    if (!this.#image.hidden) return;
    if (this.#video.paused) void this.#start();
    else this.#video.pause();
  }

  #toggleMute(): void {
    this.#video.muted = !this.#video.muted;
  }

  #toggleFull(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.#screen.requestFullscreen) void this.#screen.requestFullscreen().catch(() => undefined);
    // iPhones know full screen for video elements only.
    else (this.#video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.();
  }

  #key(event: KeyboardEvent): void {
    if (event.target instanceof HTMLElement && event.target.closest("button, a, select") && event.key === " ") return;
    const actions: Record<string, () => void> = {
      " ": () => this.#togglePlay(),
      k: () => this.#togglePlay(),
      f: () => this.#toggleFull(),
      m: () => this.#toggleMute(),
      ArrowLeft: () => (this.#video.currentTime -= 10),
      ArrowRight: () => (this.#video.currentTime += 10),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
