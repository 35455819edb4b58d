import { describe, expect, test } from "vitest";
import { gapAt, heldSpans, parseCoverage, playableFrom, ratioInWords, summarize, ticks } from "../src/model/coverage";
import { positionOf } from "../src/model/playback";
import { DAY, HOUR, MINUTE } from "../src/model/time";

const start = Date.parse("2026-11-21T00:00:00Z");
const iso = (hours: number): string => new Date(start + hours * HOUR).toISOString();
const coverage = parseCoverage({
  from: iso(0),
  to: iso(10),
  ratio: 0.7,
  gaps: [
    { from: iso(6), to: iso(7), reason: "Stalled" },
    { from: iso(-5), to: iso(2), reason: "NotRecorded" },
    { from: iso(9.5), to: iso(12), reason: "Unreachable" },
  ],
});
const hours = (span: { from: number; to: number }): number[] => [(span.from - start) / HOUR, (span.to - start) / HOUR];

describe("coverage", () => {
  test("is what the gaps leave", () => {
    expect(coverage.gaps.map(hours)).toEqual([[0, 2], [6, 7], [9.5, 10]]);
    expect(heldSpans(coverage).map(hours)).toEqual([[2, 6], [7, 9.5]]);
    expect(heldSpans({ ...coverage, gaps: [] }).map(hours)).toEqual([[0, 10]]);
  });

  test("counts only the time in which there was something to record", () => {
    const summary = summarize(coverage);
    expect(summary).toMatchObject({ expected: 8 * HOUR, missing: 1.5 * HOUR, gaps: 2 });
    expect(summary.ratio).toBeCloseTo(6.5 / 8);
    expect(summarize({ from: 0, to: 10, gaps: [{ from: 0, to: 10, reason: "NotRecorded" }] })).toMatchObject({ ratio: 1, expected: 0 });
  });

  test("is never rounded up to the whole", () => {
    expect(ratioInWords(1)).toBe("100\u202f%");
    expect(ratioInWords(0.999_99)).toBe("99.99\u202f%");
    expect(ratioInWords(0.876_5)).toBe("87.7\u202f%");
  });

  test("tells where to play", () => {
    const at = (hour: number): number => start + hour * HOUR;
    expect(gapAt(coverage, at(6.5))?.reason).toBe("Stalled");
    expect(playableFrom(coverage, at(3))).toBe(at(3));
    expect(playableFrom(coverage, at(6.5))).toBe(at(7));
    expect(playableFrom(coverage, at(9.9))).toBeUndefined();
  });
});

test("a timeline's labels are round and few", () => {
  for (const length of [HOUR, 6 * HOUR, DAY, 7 * DAY]) {
    const found = ticks({ from: start + 17 * MINUTE, to: start + 17 * MINUTE + length }, 10);
    expect(found.length).toBeGreaterThan(3);
    expect(found.length).toBeLessThan(16);
    for (const { at } of found) expect(new Date(at).getMinutes() % 5).toBe(0);
  }
});

test("an instant is found in a playlist with gaps", () => {
  const fragments = [
    { start: 0, duration: 6, programDateTime: start },
    { start: 6, duration: 6, programDateTime: start + 6_000 },
    { start: 12, duration: 6, programDateTime: start + 60_000 },
  ];
  expect(positionOf(fragments, start - 1)).toBe(0);
  expect(positionOf(fragments, start + 7_500)).toBe(7.5);
  expect(positionOf(fragments, start + 30_000)).toBe(12);
  expect(positionOf(fragments, start + 61_000)).toBe(13);
  expect(positionOf(fragments, start + DAY)).toBe(0);
  expect(positionOf([], start)).toBe(0);
});
