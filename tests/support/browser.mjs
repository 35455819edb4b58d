// Opens the program's page in a headless Chromium, as a person would, and prints as JSON what can be seen:
//
//   node browser.mjs <path of playwright-core> <address of the program> <namespace/camera> <chromium> <seconds>
//
// `protocol`: over which the page came, such as `h2`; any certificate is accepted. `tile`: the overview shows the camera's picture. `counters`: the frame counters (camera.py) that were read from the pictures
// of the opened camera's video over those seconds; null for a picture without one. `errors`: what the page wrote to the console as an error.
import { createRequire } from "node:module";

const [playwright, address, camera, chromium, seconds] = process.argv.slice(2);
const { chromium: browserType } = createRequire(import.meta.url)(playwright);
const browser = await browserType.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${address}/`);
  const tile = page.locator(`[data-camera="${camera}"] img`).first();
  await tile.waitFor({ timeout: 30_000 });
  await page.waitForFunction((image) => image.naturalWidth > 0, await tile.elementHandle(), { timeout: 30_000 });

  await page.goto(`${address}/#/cameras/${camera}`);
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0.5, undefined, { timeout: 60_000 });
  const counters = await page.evaluate(async (duration) => {
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
    const end = performance.now() + duration;
    while (performance.now() < end) {
      await new Promise((done) => {
        video.requestVideoFrameCallback(done);
        setTimeout(done, 500);
      });
      read();
    }
    return seen;
  }, Number(seconds) * 1000);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  console.log(JSON.stringify({ protocol, tile: true, counters, errors }));
} finally {
  await browser.close();
}
