// Puts the page together: follows the server's events, shows what the address says, tells when the connection is lost.

import { follow, health, serverNow, type Health } from "./api/client";
import { parseRoute } from "./model/route";
import { Store } from "./model/store";
import { bytes } from "./model/time";
import { CameraView } from "./view/camera";
import { button, h, setAttribute, setText } from "./view/dom";
import { Overview } from "./view/overview";
import { showTime, Toasts } from "./view/parts";
import { Snapshots } from "./view/snapshots";
import { applyTheme, nextTheme } from "./view/theme";
import "./style/base.css";
import "./style/overview.css";
import "./style/camera.css";

const HEALTH_MS = 30_000;
/** A connection that is back within this time was not worth a banner. */
const LOST_AFTER_MS = 2_500;

applyTheme();

const store = new Store();
const toasts = new Toasts();
const snapshots = new Snapshots();
const overview = new Overview(store, snapshots, toasts);

const lostSince = h("time");
const lost = h(
  "div",
  { class: "banner", "data-tone": "bad", role: "alert" },
  h("span", {}, "No connection to camera-operator since ", lostSince, ". What you see is from then; trying again."),
);
const problems = h("div", { class: "banner", "data-tone": "warning", role: "status" });
lost.hidden = problems.hidden = true;

const slot = h("div", { class: "slot" });
const storage = h("span");
const version = h("span");
document.body.append(
  h("a", { class: "skip", href: "#content", text: "Skip to the cameras", on: { click: skip } }),
  h(
    "header",
    { class: "top" },
    h("a", { class: "brand", href: "#/" }, h("img", { src: "/icon.svg", alt: "", width: "24", height: "24" }), "camera-operator"),
    h("span", { class: "spacer" }),
    h("a", { class: "top-link", href: "/docs", text: "API" }),
    button("theme", "Light or dark", () => toasts.show(nextTheme()), true),
  ),
  lost,
  problems,
  slot,
  h("footer", { class: "foot" }, storage, version),
  toasts.element,
);

let camera: { readonly key: string; readonly view: CameraView } | undefined;

function skip(event: Event): void {
  event.preventDefault();
  const content = document.getElementById("content");
  content?.setAttribute("tabindex", "-1");
  content?.focus();
}

function show(): void {
  const route = parseRoute(location.hash);
  if (route.view === "camera") {
    const key = `${route.namespace}/${route.name}`;
    if (camera?.key !== key) {
      camera?.view.dispose();
      camera = { key, view: new CameraView(store, snapshots, toasts, route.namespace, route.name, route.at) };
      slot.replaceChildren(camera.view.element);
      camera.view.focus();
      window.scrollTo(0, 0);
    } else if (route.at !== undefined) camera.view.goTo(route.at);
    return;
  }
  const before = camera?.key;
  camera?.view.dispose();
  camera = undefined;
  document.title = "camera-operator";
  overview.update();
  slot.replaceChildren(overview.element);
  // Back from a camera: the keyboard goes on where it was.
  if (before !== undefined) document.querySelector<HTMLElement>(`[data-camera="${CSS.escape(before)}"]`)?.focus();
}

window.addEventListener("hashchange", show);

let pending = false;
store.subscribe(() => {
  // Many changes that come at once are one picture.
  if (pending) return;
  pending = true;
  queueMicrotask(() => {
    pending = false;
    if (camera) camera.view.update();
    else overview.update();
  });
});

function showHealth({ problems: found, storage: volumes, version: running }: Health): void {
  problems.hidden = found.length === 0;
  problems.replaceChildren(...found.map((problem) => h("p", { text: problem })));
  const words = volumes.map(({ namespace, name, freeBytes, totalBytes }) => {
    const archive = namespace === "default" ? name : `${namespace}/${name}`;
    return `Archive ${archive}: ${bytes(freeBytes)} of ${bytes(totalBytes)} free`;
  });
  setText(storage, words.join(" · "));
  setAttribute(storage, "data-tone", volumes.some(({ ready }) => !ready) ? "bad" : undefined);
  setText(version, `camera-operator ${running}`);
}

function askHealth(): void {
  if (document.hidden) return;
  // The banner tells when there is no connection; here it is enough to leave things as they are.
  health(AbortSignal.timeout(10_000)).then(showHealth, () => undefined);
}

let lostTimer: ReturnType<typeof setTimeout> | undefined;
let connected = false;
function onConnection(now: boolean): void {
  if (now) {
    clearTimeout(lostTimer);
    lostTimer = undefined;
    lost.hidden = true;
    if (!connected) askHealth();
  } else if (lostTimer === undefined) {
    const since = serverNow();
    lostTimer = setTimeout(() => {
      showTime(lostSince, since);
      lost.hidden = false;
    }, LOST_AFTER_MS);
  }
  connected = now;
  document.body.classList.toggle("offline", !now && store.loaded);
}

show();
setInterval(askHealth, HEALTH_MS);
void follow((update) => store.apply(update), onConnection);
