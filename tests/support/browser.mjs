// Opens the program's page in a headless Chromium, as a person would, and prints as JSON what can be seen:
//
//   node browser.mjs <path of playwright-core> <address of the program> <namespace/camera> <chromium> <seconds>
//
// `protocol`: over which the page came, such as `h2`; any certificate is accepted. `tile`: the overview shows the camera's picture. `counters`: the frame counters (camera.py) that were read from the pictures
// of the opened camera's video over those seconds, and on until the picture has moved (READS, COUNTERS) or PATIENCE_MS is over;
// null for a picture without one. `errors`: what the page wrote to the console as an error. A request that fails is no error of
// the page: pictures of a camera that sends none are answered with 503.
import { createRequire } from "node:module";

/** How long anything may take before it counts as never, as in mod.rs. */
const PATIENCE_MS = 120_000;
/** Whoever has read so many counters, the last of them so much later than the first, has seen the picture move (browser.rs). */
const [READS, COUNTERS] = [25, 75];

const [playwright, address, camera, chromium, seconds] = process.argv.slice(2);
const { chromium: browserType } = createRequire(import.meta.url)(playwright);
const browser = await browserType.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${address}/`);
  const tile = page.locator(`[data-camera="${camera}"] img`).first();
  await tile.waitFor();
  await page.waitForFunction((image) => image.naturalWidth > 0, await tile.elementHandle());

  await page.goto(`${address}/#/cameras/${camera}`);
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0.5);
  const counters = await page.evaluate(async ({ duration, patience, reads, distance }) => {
    const video = document.querySelector("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [320, 32];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const seen = [];
    const read = () => {
      context.drawImage(video, 0, 0, 320, 32, 0, 0, 320, 32);
      const { data } = context.getImageData(0, 0, 320, 32);
      let word = 0n;
      for (let cell = 0; cell < 40; cell += 1) {
        const x = (cell % 20) * 16 + 8;
        const y = Math.floor(cell / 20) * 16 + 8;
        word = (word << 1n) | (data[(y * 320 + x) * 4] > 125 ? 1n : 0n);
      }
      const counter = Number(word >> 8n);
      const sum = 0xa5 ^ (counter >>> 24) ^ ((counter >>> 16) & 255) ^ ((counter >>> 8) & 255) ^ (counter & 255);
      seen.push(sum === Number(word & 255n) ? counter : null);
    };
    const hasMoved = () => {
      const read = seen.filter((counter) => counter !== null);
      return read.length >= reads && read.at(-1) - read[0] >= distance;
    };
    const begun = performance.now();
    const since = () => performance.now() - begun;
    while (since() < duration || (since() < patience && !hasMoved())) {
      await new Promise((done) => {
        video.requestVideoFrameCallback(done);
        setTimeout(done, 500);
      });
      read();
    }
    return seen;
  }, { duration: Number(seconds) * 1000, patience: PATIENCE_MS, reads: READS, distance: COUNTERS });
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  console.log(JSON.stringify({ protocol, tile: true, counters, errors }));
} finally {
  await browser.close();
}
