import { expect, test } from "vitest";
import { cameraLink, parseRoute } from "../src/model/route";
import { ago, bytes, DAY, duration, fromLocalInput, HOUR, manifestDuration, MINUTE, toLocalInput, utc } from "../src/model/time";

test("durations have their two largest units", () => {
  const cases: [number, string][] = [
    [0, "0 s"],
    [59_400, "59 s"],
    [MINUTE, "1 min"],
    [125_000, "2 min 5 s"],
    [37 * MINUTE + 5_000, "37 min"],
    [90 * MINUTE, "1 h 30 min"],
    [DAY, "1 d"],
    [3 * DAY + 4 * HOUR + MINUTE, "3 d 4 h"],
  ];
  for (const [milliseconds, words] of cases) expect(duration(milliseconds)).toBe(words);
  expect(manifestDuration("90m")).toBe("1 h 30 min");
  expect(manifestDuration("500ms")).toBe("500 ms");
  expect(manifestDuration("soon")).toBe("soon");
});

test("how long ago", () => {
  expect(ago(1_000, 2_000)).toBe("now");
  expect(ago(0, 12_300)).toBe("12 s ago");
  expect(ago(0, 5 * MINUTE)).toBe("5 min ago");
});

test("an input of the viewer's zone and back is the same instant", () => {
  const instant = Date.parse("2026-07-01T12:34:56Z");
  expect(fromLocalInput(toLocalInput(instant))).toBe(instant);
  expect(fromLocalInput("")).toBeNaN();
  expect(utc(instant)).toBe("2026-07-01 12:34:56 UTC");
});

test("bytes are in decimal units", () => {
  expect(bytes(999)).toBe("999 B");
  expect(bytes(1_500)).toBe("1.5 kB");
  expect(bytes(312e9)).toBe("312 GB");
});

test("a link leads to what it names", () => {
  expect(parseRoute(cameraLink("club north", "court/1"))).toEqual({ view: "camera", namespace: "club north", name: "court/1" });
  const at = Date.parse("2026-11-21T01:02:03Z");
  expect(parseRoute(cameraLink("default", "a", at))).toEqual({ view: "camera", namespace: "default", name: "a", at });
  for (const hash of ["", "#/", "#/cameras/a", "#/cameras/%E0%A4%A/b", "#/cameras/a/b/c"]) {
    expect(parseRoute(hash), hash).toEqual({ view: "overview" });
  }
});
