// Looks at the page as a person does, in a real Chromium, in front of a running `camera-operator run -f
// examples/quickstart.yaml`. Ends with 0 when everything is as it should be; else says what is not, and leaves a screenshot.
//
//   node web/e2e/run.mjs <base URL> [process id of the program: it is ended last, to see the page notice]
//
// CHROMIUM names another browser than /usr/bin/chromium.

import { mkdir, readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const [base, pid] = process.argv.slice(2);
if (base === undefined) {
  console.error("usage: node web/e2e/run.mjs <base URL> [process id]");
  process.exit(2);
}

/** How long anything may take before it counts as broken; generous, because nothing here measures speed. */
const PATIENCE_MS = 90_000;
const ARTIFACTS = new URL("artifacts/", import.meta.url).pathname;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const context = await browser.newContext({
  viewport: { width: 1360, height: 900 },
  locale: "en-GB",
  timezoneId: "Europe/Madrid",
  acceptDownloads: true,
});
context.setDefaultTimeout(PATIENCE_MS);
const page = await context.newPage();

// What the page must never do: throw, or break its own content security policy. A request that fails is not an error of the
// page: pictures of a camera that is stopped are answered with 503.
const errors = [];
page.on("pageerror", (error) => errors.push(`uncaught: ${error.message}`));
page.on("console", (message) => {
  if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) errors.push(message.text());
});
// Requests that a browser's six connections are used up by, were they all open at once.
let snapshots = 0;
let mostSnapshots = 0;
page.on("request", (request) => {
  if (request.url().endsWith("/snapshot.jpg") && request.resourceType() === "fetch") mostSnapshots = Math.max(mostSnapshots, ++snapshots);
});
for (const event of ["requestfinished", "requestfailed"]) {
  page.on(event, (request) => {
    if (request.url().endsWith("/snapshot.jpg") && request.resourceType() === "fetch") snapshots -= 1;
  });
}

function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/** Waits until `probe`, which runs in the page, gives something true, and returns it. */
async function eventually(what, probe, argument) {
  try {
    const handle = await page.waitForFunction(probe, argument, { timeout: PATIENCE_MS, polling: 200 });
    return await handle.jsonValue();
  } catch {
    throw new Error(`not seen: ${what}`);
  }
}

/** Whether an image or video element shows a picture: many different pixels, not one colour. Runs in the page. */
function showsPicture(selector) {
  const element = document.querySelector(selector);
  const width = element?.videoWidth ?? element?.naturalWidth ?? 0;
  if (width === 0 || element.hidden) return false;
  const canvas = document.createElement("canvas");
  canvas.width = 64;
  canvas.height = 36;
  const drawing = canvas.getContext("2d");
  drawing.drawImage(element, 0, 0, canvas.width, canvas.height);
  const pixels = new Uint32Array(drawing.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size > 16;
}

/** Whether the video has moved by two seconds since it was first asked. Runs in the page. */
function moves(name) {
  const video = document.querySelector("video");
  if (!video || video.hidden || video.readyState < 2) return false;
  globalThis.marks ??= {};
  const mark = (globalThis.marks[name] ??= video.currentTime);
  return video.currentTime - mark > 2;
}

const pillOf = (scope) => `${scope} .pill`;
const labelled = ([selector, label]) => document.querySelector(selector)?.textContent?.includes(label);

async function object(kind, name) {
  const response = await context.request.get(`${base}/api/v1/namespaces/default/${kind}/${name}`);
  assert(response.ok(), `${kind}/${name}: ${response.status()}`);
  return response.json();
}

const steps = {
  async "the overview shows a tile with a picture for each camera"() {
    await page.goto(base);
    for (const name of ["front-door", "garden"]) {
      const tile = `[data-camera="default/${name}"]`;
      await eventually(`${name} is Ready`, labelled, [pillOf(tile), "Ready"]);
      await eventually(`a picture of ${name}`, showsPicture, `${tile} .picture img`);
    }
    const text = await page.locator('[data-camera="default/front-door"]').innerText();
    assert(/1280 × 720/.test(text) && /H\.264/.test(text), `the tile says what the camera sends: ${text}`);
    assert((await page.locator(".tile .recording-badge:visible").count()) > 0, "a recording badge is shown");
  },

  async "a tile's picture is refreshed, two requests at a time at most"() {
    const source = await page.locator('[data-camera="default/garden"] .picture img').getAttribute("src");
    await eventually("a new picture", ([selector, old]) => document.querySelector(selector)?.src !== old, [
      '[data-camera="default/garden"] .picture img',
      source,
    ]);
    assert(mostSnapshots <= 2, `${mostSnapshots} pictures were asked for at once`);
  },

  async "a camera opens by keyboard and plays low latency HLS"() {
    await page.locator('[data-camera="default/front-door"]').focus();
    await page.keyboard.press("Enter");
    await eventually("the camera's title", labelled, ["h1", "front-door"]);
    await eventually("the video moves", moves, "low latency");
    await eventually("a decoded picture", showsPicture, "video");
    await eventually("the delay in words", () => /^Live, \d+\.\d s behind$/.test(document.querySelector(".player-status")?.innerText ?? ""));
    const chosen = await page.locator(".camera-head select").inputValue();
    assert(chosen === "default/front-door-fast", `the low latency stream is chosen first, not ${chosen}`);
    console.log(`  ${await page.locator(".player-status").innerText()}`);
  },

  async "another stream of the camera can be chosen"() {
    await page.locator(".camera-head select").selectOption("default/front-door");
    await eventually("the video moves", moves, "plain");
    await eventually("a decoded picture", showsPicture, "video");
  },

  async "the log is there"() {
    await page.locator(".log summary").click();
    await eventually("log lines", () => document.querySelectorAll(".log-line").length > 0);
  },

  async "a camera that is stopped and started again says so and plays again"() {
    const stop = page.locator(".camera-head .actions").getByRole("button", { name: "Stop" });
    await stop.click();
    await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
    await eventually("Stopped", labelled, [".camera-name .pill", "Stopped"]);
    assert((await object("cameras", "front-door")).spec.suspend === true, "the camera's spec says suspend");
    await eventually("the player says why nothing moves", labelled, [".screen-message", "Stopped"]);
    await page.locator(".camera-head .actions").getByRole("button", { name: "Start" }).click();
    await eventually("Ready again", labelled, [".camera-name .pill", "Ready"]);
    await eventually("the video moves again", moves, "started again");
  },

  async "recorded video plays where the timeline is clicked"() {
    await page.getByRole("button", { name: "1 h", exact: true }).click();
    await page.locator(".timeline-track").scrollIntoViewIfNeeded();
    // Enough to click on: a recording of seconds is a sliver of an hour. Spans are drawn anew now and then, so their place is
    // read in one go.
    const place = await eventually("something recorded", () => {
      const span = [...document.querySelectorAll(".timeline .held")].find((one) => one.offsetWidth >= 3);
      const box = span?.getBoundingClientRect();
      return box && { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    });
    await page.mouse.click(place.x, place.y);
    await eventually("recorded mode", labelled, [".player-status", "Recorded"]);
    await eventually("a decoded picture", showsPicture, "video");
    await eventually("the time of the picture", () => (document.querySelector(".player-status time")?.dateTime ?? "") !== "");
    const shown = Date.parse(await page.locator(".player-status time").getAttribute("datetime"));
    assert(Math.abs(Date.now() - shown) < 3_600_000, `the picture is of the last hour: ${new Date(shown).toISOString()}`);
    assert(await page.locator(".timeline-cursor").isVisible(), "the timeline shows where that is");
    await page.getByRole("button", { name: "Go live" }).click();
    await eventually("the video moves", moves, "live again");
  },

  async "a part is saved as an MP4 file"() {
    const coverage = await context.request.get(`${base}/api/v1/namespaces/default/recordings/front-door/coverage`, {
      params: { from: new Date(Date.now() - 3_600_000).toISOString(), to: new Date().toISOString() },
    });
    assert(coverage.ok(), `coverage: ${coverage.status()} ${await coverage.text()}`);
    const started = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save as MP4" }).click();
    const download = await Promise.race([
      started,
      page.locator(".history .problem:visible").waitFor().then(async () => {
        throw new Error(`saving was refused: ${await page.locator(".history .problem").innerText()}`);
      }),
    ]);
    const file = await readFile(await download.path());
    assert(file.subarray(4, 8).toString() === "ftyp", "the file is an MP4");
    assert(/^front-door.*\.mp4$/.test(download.suggestedFilename()), download.suggestedFilename());
    console.log(`  ${download.suggestedFilename()}, ${file.length} bytes`);
  },

  async "an MJPEG stream plays"() {
    await page.goto(`${base}/#/cameras/default/garden`);
    await eventually("a picture", showsPicture, ".screen img");
    await page.getByRole("link", { name: "All cameras" }).first().click();
    await eventually("the overview", () => document.querySelectorAll("[data-camera]").length === 2);
  },

  async "nothing is wider than a phone"() {
    await page.setViewportSize({ width: 390, height: 844 });
    for (const hash of ["", "#/cameras/default/front-door"]) {
      await page.goto(`${base}/${hash}`);
      await page.locator("[data-camera], .player").first().waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert(wide <= 0, `/${hash} is ${wide} pixels too wide`);
    }
    await page.setViewportSize({ width: 1360, height: 900 });
  },

  async "an unknown camera is said to be unknown"() {
    await page.goto(`${base}/#/cameras/default/nobody`);
    await page.getByRole("heading", { name: "There is no such camera" }).waitFor();
  },

  async "the page notices when the program is gone"() {
    if (pid === undefined) return;
    await page.goto(base);
    await eventually("tiles", () => document.querySelectorAll("[data-camera]").length === 2);
    process.kill(Number(pid), "SIGTERM");
    await page.getByText("No connection to camera-operator since").waitFor();
    assert((await page.locator("[data-camera]").count()) === 2, "what was known stays");
  },
};

let failed = false;
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    assert(errors.length === 0, `the page reported: ${errors.join("; ")}`);
    console.log(`ok - ${name}`);
  } catch (error) {
    failed = true;
    await mkdir(ARTIFACTS, { recursive: true });
    const path = `${ARTIFACTS}failure.png`;
    await page.screenshot({ path }).catch(() => undefined);
    console.log(`not ok - ${name}: ${error.message}`);
    console.log(`  at ${page.url()}; screenshot in web/e2e/artifacts/failure.png`);
    for (const one of errors) console.log(`  the page reported: ${one}`);
    break;
  }
}
await browser.close();
process.exit(failed ? 1 : 0);
