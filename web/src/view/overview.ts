// All cameras at a glance. Filters where there are many; says what to do where there are none.

import { keyOf, namespaceOf } from "../api/objects";
import { stateOf } from "../model/state";
import type { Store } from "../model/store";
import { h, KeyedList, setAttribute, setText } from "./dom";
import { codeBlock, type Toasts } from "./parts";
import type { Snapshots } from "./snapshots";
import { Tile, type TileData } from "./tile";

const FIRST_MANIFEST = `apiVersion: camera-operator.dev/v1alpha1
kind: Camera
metadata: {name: front-door}
spec:
  source:
    rtsp: {url: "rtsp://192.0.2.10:554/stream1"}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Stream
metadata: {name: front-door}
spec:
  cameraRef: {name: front-door}
  output: {hls: {}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Recording
metadata: {name: front-door}
spec:
  cameraRef: {name: front-door}
  continuous: {}
  retention: {maxAge: 30d}
`;

type Filter = "all" | "ok" | "attention" | "stopped";

const FILTERS: readonly { readonly filter: Filter; readonly label: string }[] = [
  { filter: "all", label: "All" },
  { filter: "ok", label: "Ready" },
  { filter: "attention", label: "Need attention" },
  { filter: "stopped", label: "Stopped" },
];

/** From this many cameras on a search field is worth its place. */
const SEARCH_FROM = 9;

export class Overview {
  readonly element = h("main", { class: "overview", id: "content" });
  readonly #grid = h("div", { class: "grid" });
  readonly #filters = h("div", { class: "filters", role: "group", "aria-label": "Show cameras by state" });
  readonly #search = h("input", {
    type: "search",
    class: "search",
    placeholder: "Find a camera",
    "aria-label": "Find a camera by name",
  });
  readonly #bar = h("div", { class: "overview-bar" }, this.#filters, this.#search);
  readonly #none = h("p", { class: "nothing", text: "No camera is shown by this choice." });
  readonly #empty: HTMLElement;
  readonly #loading = h("div", { class: "grid", "aria-busy": "true", "aria-label": "Loading" });
  readonly #buttons = new Map<Filter, { button: HTMLButtonElement; count: HTMLElement }>();
  readonly #tiles = new Set<Tile>();
  readonly #list: KeyedList<TileData>;
  #filter: Filter = "all";

  constructor(
    private readonly store: Store,
    snapshots: Snapshots,
    toasts: Toasts,
  ) {
    this.#empty = emptyState(toasts);
    for (let index = 0; index < 3; index += 1) this.#loading.append(h("div", { class: "tile skeleton" }, h("div", { class: "picture" })));
    for (const { filter, label } of FILTERS) {
      const count = h("span", { class: "count" });
      const choose = h("button", { type: "button", class: "chip", on: { click: () => this.#choose(filter) } }, label, count);
      this.#buttons.set(filter, { button: choose, count });
      this.#filters.append(choose);
    }
    this.#search.addEventListener("input", () => this.update());
    this.#list = new KeyedList(
      this.#grid,
      ({ camera }) => keyOf(camera),
      (data) => {
        const tile = new Tile(data, snapshots);
        const dispose = tile.dispose.bind(tile);
        tile.dispose = () => {
          this.#tiles.delete(tile);
          dispose();
        };
        this.#tiles.add(tile);
        return tile;
      },
    );
    this.element.append(h("h1", { class: "unseen", text: "Cameras" }), this.#bar, this.#grid, this.#none, this.#empty, this.#loading);
    setInterval(() => {
      if (this.element.isConnected) for (const tile of this.#tiles) tile.tick();
    }, 1_000);
  }

  #choose(filter: Filter): void {
    this.#filter = filter;
    this.update();
  }

  update(): void {
    const cameras = this.store.cameras();
    const byFilter = new Map<Filter, number>(FILTERS.map(({ filter }) => [filter, 0]));
    const count = (filter: Filter): void => void byFilter.set(filter, (byFilter.get(filter) ?? 0) + 1);
    const showNamespace = new Set(cameras.map(namespaceOf)).size > 1;
    const text = this.#search.value.trim().toLowerCase();
    const shown: TileData[] = [];
    for (const camera of cameras) {
      const { tone } = stateOf(camera);
      const group: Filter = tone === "ok" ? "ok" : tone === "idle" ? "stopped" : "attention";
      count("all");
      count(group);
      const chosen = this.#filter === "all" || this.#filter === group;
      const found = text === "" || keyOf(camera).toLowerCase().includes(text);
      if (chosen && found) shown.push({ camera, recordings: this.store.recordingsOf(camera), showNamespace });
    }
    for (const [filter, { button, count: label }] of this.#buttons) {
      const number = byFilter.get(filter) ?? 0;
      setText(label, String(number));
      setAttribute(button, "aria-pressed", String(this.#filter === filter));
      button.hidden = filter !== "all" && number === 0 && this.#filter !== filter;
    }
    const { loaded } = this.store;
    this.#loading.hidden = loaded;
    this.#bar.hidden = cameras.length === 0;
    this.#search.hidden = cameras.length < SEARCH_FROM && text === "";
    this.#empty.hidden = !loaded || cameras.length > 0;
    this.#none.hidden = cameras.length === 0 || shown.length > 0;
    this.#grid.hidden = shown.length === 0;
    this.#grid.dataset["few"] = String(shown.length <= 2);
    this.#list.update(shown);
  }
}

function emptyState(toasts: Toasts): HTMLElement {
  return h(
    "section",
    { class: "empty" },
    h("h2", { text: "No cameras yet" }),
    h(
      "p",
      {},
      "Declare the first one. Put this manifest into the file or folder that ",
      h("code", { text: "camera-operator run -f" }),
      " reads, with your camera's address; it appears here as soon as the file is saved. In a cluster, ",
      h("code", { text: "kubectl apply -f" }),
      " it.",
    ),
    codeBlock(FIRST_MANIFEST, toasts),
    h(
      "p",
      { class: "quiet" },
      "A camera with a password names a Secret (",
      h("code", { text: "credentialsSecretRef" }),
      "). No camera at hand? ",
      h("code", { text: "source: {test: {}}" }),
      " makes a picture by itself.",
    ),
  );
}
