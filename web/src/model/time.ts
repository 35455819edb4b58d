// Times and durations in words. Times are shown in the viewer's zone; UTC stands in the tooltip. Pure.

const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** A span of milliseconds with its two largest units: `2 h 05 min`, `45 s`, `3 d 4 h`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / SECOND));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** A duration of a manifest (`90m`, `30d`, `500ms`) in words; the text itself where it is something else. */
export function manifestDuration(text: string): string {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  if (!match) return text;
  const [, count = "0", unit = "s"] = match;
  const units: Record<string, number> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };
  const value = Number(count) * (units[unit] ?? SECOND);
  return value < SECOND ? `${value} ms` : duration(value);
}

const withSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const withoutSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayOnly = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

/** Whether two instants are on one day of the viewer. */
function sameDay(one: number, other: number): boolean {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/** The time of day; with the day where that is not the day of `now`. */
export function clock(instant: number, now: number, seconds = true): string {
  const time = (seconds ? withSeconds : withoutSeconds).format(instant);
  return sameDay(instant, now) ? time : `${dayOnly.format(instant)}, ${time}`;
}

/** The day, in the viewer's zone. */
export function day(instant: number): string {
  return dayOnly.format(instant);
}

/** `2026-11-21 01:02:03 UTC`. */
export function utc(instant: number): string {
  return `${new Date(instant).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** How long ago, roughly: `now`, `12 s ago`, `3 min ago`. */
export function ago(instant: number, now: number): string {
  const elapsed = now - instant;
  if (elapsed < 2 * SECOND) return "now";
  if (elapsed < MINUTE) return `${Math.floor(elapsed / SECOND)} s ago`;
  if (elapsed < HOUR) return `${Math.floor(elapsed / MINUTE)} min ago`;
  return `${duration(elapsed)} ago`;
}

/** Value of an `<input type="datetime-local" step="1">`, which knows the viewer's zone only. */
export function toLocalInput(instant: number): string {
  const offset = new Date(instant).getTimezoneOffset() * MINUTE;
  return new Date(Math.round(instant / SECOND) * SECOND - offset).toISOString().slice(0, 19);
}

/** The instant that such an input shows; NaN when it is empty. */
export function fromLocalInput(value: string): number {
  return value === "" ? Number.NaN : new Date(value).getTime();
}

/** Bytes in decimal units, as disks are sold: `312 GB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
