// A recording's coverage on a timeline: which spans are held, which are not and why. Pure. Instants are milliseconds since the
// epoch.

import type { CoverageAnswer } from "../api/client";
import { HOUR, MINUTE } from "./time";

export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface GapSpan extends Span {
  readonly reason: string;
}

export interface Coverage extends Span {
  readonly gaps: readonly GapSpan[];
}

/** The server's answer with instants as numbers, gaps clipped to the span and in order. */
export function parseCoverage(answer: CoverageAnswer): Coverage {
  const from = Date.parse(answer.from);
  const to = Date.parse(answer.to);
  const gaps = answer.gaps
    .map((gap) => ({ from: Math.max(from, Date.parse(gap.from)), to: Math.min(to, Date.parse(gap.to)), reason: gap.reason }))
    .filter((gap) => gap.to > gap.from)
    .sort((one, other) => one.from - other.from);
  return { from, to, gaps };
}

/** The spans that are held: what the gaps leave. */
export function heldSpans(coverage: Coverage): Span[] {
  const held: Span[] = [];
  let position = coverage.from;
  for (const gap of coverage.gaps) {
    if (gap.from > position) held.push({ from: position, to: gap.from });
    position = Math.max(position, gap.to);
  }
  if (coverage.to > position) held.push({ from: position, to: coverage.to });
  return held;
}

/** The gap at an instant, if there is one. */
export function gapAt(coverage: Coverage, instant: number): GapSpan | undefined {
  return coverage.gaps.find((gap) => gap.from <= instant && instant < gap.to);
}

/** Gaps that nobody wanted: not those from before the recording was made or after retention. */
export function unwantedGaps(coverage: Coverage): GapSpan[] {
  return coverage.gaps.filter(({ reason }) => reason !== "NotRecorded" && reason !== "Deleted");
}

export interface Summary {
  /** Share of what should have been recorded, 0 to 1. */
  readonly ratio: number;
  /** How much should have been recorded, milliseconds. */
  readonly expected: number;
  /** How much of that is missing, milliseconds. */
  readonly missing: number;
  readonly gaps: number;
}

/** How well a span is covered, counting only the time in which there was something to record. */
export function summarize(coverage: Coverage): Summary {
  const lengthOf = (spans: readonly Span[]): number => spans.reduce((sum, span) => sum + span.to - span.from, 0);
  const gaps = unwantedGaps(coverage);
  const missing = lengthOf(gaps);
  const expected = coverage.to - coverage.from - (lengthOf(coverage.gaps) - missing);
  return { ratio: expected > 0 ? 1 - missing / expected : 1, expected, missing, gaps: gaps.length };
}

/** A share for people, never rounded up to the whole: 0.99996 is not 100 %. */
export function ratioInWords(ratio: number): string {
  const hundredths = Math.floor(ratio * 10_000) / 100;
  return `${hundredths === 100 ? "100" : hundredths.toFixed(hundredths >= 99 ? 2 : 1)}\u202f%`;
}

/** Where to play when somebody asks for `instant`: there, or at the end of the gap that it is in; nothing when that is now. */
export function playableFrom(coverage: Coverage, instant: number): number | undefined {
  const gap = gapAt(coverage, instant);
  if (!gap) return instant;
  return gap.to < coverage.to ? gap.to : undefined;
}

export interface Tick {
  readonly at: number;
  /** A day begins here, in the viewer's zone. */
  readonly midnight: boolean;
}

/** Where a timeline's labels stand: round times of the viewer's clock, about `count` of them. */
export function ticks(span: Span, count: number): Tick[] {
  const steps = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE);
  const wanted = (span.to - span.from) / Math.max(1, count);
  const step = steps.find((candidate) => candidate >= wanted) ?? 24 * HOUR;
  const found: Tick[] = [];
  // Steps are counted from local midnight, so that a zone of half hours has round labels too.
  const midnight = new Date(span.from);
  midnight.setHours(0, 0, 0, 0);
  for (let at = midnight.getTime(); at <= span.to; at += step) {
    if (at < span.from) continue;
    const local = new Date(at);
    found.push({ at, midnight: local.getHours() === 0 && local.getMinutes() === 0 });
  }
  return found;
}
