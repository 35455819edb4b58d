// Plays every rendition of a stream with hls.js in a headless Chromium, and prints as JSON what was seen:
//
//   node renditions.mjs <path of playwright-core> <path of hls.js> <address of the program> <path of the stream> <chromium>
//
// `levels`: for each level of the multivariant playlist its name's height, the size of the video that was shown while it was
// chosen, and how far it played in seconds. `errors`: what hls.js called fatal.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [playwright, hls, address, path, chromium] = process.argv.slice(2);
const { chromium: browserType } = createRequire(import.meta.url)(playwright);
const browser = await browserType.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage({ bypassCSP: true });
  await page.goto(`${address}/healthz`);
  await page.addScriptTag({ content: readFileSync(hls, "utf8") });
  const seen = await page.evaluate(async (source) => {
    const video = document.createElement("video");
    video.muted = true;
    document.body.append(video);
    const player = new Hls();
    const errors = [];
    player.on(Hls.Events.ERROR, (_, data) => data.fatal && errors.push(`${data.type} ${data.details}`));
    const parsed = new Promise((done) => player.on(Hls.Events.MANIFEST_PARSED, done));
    player.loadSource(source);
    player.attachMedia(video);
    await parsed;
    const until = async (what, holds) => {
      const end = performance.now() + 60_000;
      while (!holds()) {
        if (performance.now() > end || errors.length > 0) throw new Error(`${what}: ${errors.join(", ")}`);
        await new Promise((done) => setTimeout(done, 100));
      }
    };
    const levels = [];
    await video.play();
    for (const [index, level] of player.levels.entries()) {
      player.currentLevel = index;
      await until(`level ${index}`, () => video.videoHeight === level.height);
      const begun = video.currentTime;
      await until(`level ${index} goes on`, () => video.currentTime > begun + 1.5);
      levels.push({ height: level.height, shown: [video.videoWidth, video.videoHeight], played: video.currentTime - begun });
    }
    return { levels, errors };
  }, path);
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
