// What this page asks of the server, and the errors that come back. Must not know of the DOM.

import { EventStreamParser } from "./event_stream";
import { mediaPathOf, pathOf, type Gap, type Recording, type Resource } from "./objects";

/** An error that the server explained (RFC 9457), or that never reached it. */
export class RequestError extends Error {
  constructor(
    message: string,
    /** HTTP status; 0 when there was no answer. */
    readonly status: number,
    /** The problem document, for members beyond the standard ones. */
    readonly problem: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
  }
}

/** Fetches, and throws [`RequestError`] for everything that is no success. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new RequestError("camera-operator does not answer.", 0);
  }
  noteServerTime(response);
  if (response.ok) return response;
  const problem = await readProblem(response);
  const detail = problem["detail"] ?? problem["title"];
  const message = typeof detail === "string" ? detail : `${response.status} ${response.statusText}`;
  throw new RequestError(message, response.status, problem);
}

async function readProblem(response: Response): Promise<Record<string, unknown>> {
  try {
    const problem: unknown = await response.json();
    return typeof problem === "object" && problem !== null ? { ...problem } : {};
  } catch {
    return {};
  }
}

let clockOffset = 0;

/** Milliseconds to add to this device's clock to get the server's; 0 while they agree within what can be seen. */
function noteServerTime(response: Response): void {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date) || response.headers.has("age")) return;
  // The header has whole seconds: half a second is its mean error.
  const offset = date + 500 - Date.now();
  clockOffset = Math.abs(offset) < 2_000 ? 0 : offset;
}

/** Now, by the server's clock: what its recordings and live playlists are stamped with. */
export function serverNow(): number {
  return Date.now() + clockOffset;
}

export type Action = "start" | "stop" | "restart";

/** Starts, stops or restarts an object. */
export async function act(resource: Resource, action: Action): Promise<void> {
  await request(`${pathOf(resource)}/${action}`, { method: "POST" });
}

export interface LogLine {
  readonly at: string;
  readonly level: string;
  readonly message: string;
}

/** The newest log lines of an object, oldest first. */
export async function logs(resource: Resource, signal: AbortSignal): Promise<readonly LogLine[]> {
  const response = await request(`${pathOf(resource)}/logs`, { signal });
  const body = (await response.json()) as { items: readonly LogLine[] };
  return body.items;
}

export interface CoverageAnswer {
  /** RFC 3339; the end is never in the future. */
  readonly from: string;
  readonly to: string;
  /** 0 to 1. */
  readonly ratio: number;
  readonly gaps: readonly Gap[];
}

/** Which parts of a span (milliseconds since the epoch) a recording holds. */
export async function coverage(recording: Recording, from: number, to: number, signal: AbortSignal): Promise<CoverageAnswer> {
  const response = await request(`${pathOf(recording)}/coverage?${span(from, to)}`, { signal });
  return (await response.json()) as CoverageAnswer;
}

function span(from: number, to: number): string {
  return new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString() }).toString();
}

/** Where a span of a recording can be played. */
export function playlistUrl(recording: Recording, from: number, to: number): string {
  return `${mediaPathOf(recording)}/playlist.m3u8?${span(from, to)}`;
}

/** Where a span of a recording can be downloaded. */
export function exportUrl(recording: Recording, from: number, to: number): string {
  return `${mediaPathOf(recording)}/export.mp4?${span(from, to)}`;
}

export interface Snapshot {
  readonly picture: Blob;
  /** Milliseconds since the epoch. */
  readonly captured: number;
}

/** The latest picture at `path`. */
export async function snapshot(path: string, signal: AbortSignal): Promise<Snapshot> {
  const response = await request(path, { signal, cache: "no-store" });
  const picture = await response.blob();
  const captured = Date.parse(response.headers.get("x-capture-time") ?? "");
  return { picture, captured: Number.isNaN(captured) ? serverNow() : captured };
}

export interface Health {
  readonly version: string;
  readonly problems: readonly string[];
  readonly storage: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly ready: boolean;
    readonly message: string;
    readonly freeBytes: number;
    readonly totalBytes: number;
  }[];
}

/** How the system as a whole is doing. */
export async function health(signal: AbortSignal): Promise<Health> {
  const response = await request("/api/v1/health", { signal });
  return (await response.json()) as Health;
}

export type Update =
  | { readonly kind: "snapshot"; readonly items: readonly Resource[] }
  | { readonly kind: "change"; readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: Resource };

/** No sign of life for this long means that the connection is dead; the server sends a heartbeat every 15 s. */
const SILENCE_MS = 40_000;

/** Follows the events of all objects for ever, through every lost connection. `EventSource` would not notice a dead peer. */
export async function follow(onUpdate: (update: Update) => void, onConnection: (connected: boolean) => void): Promise<never> {
  let lastId = "";
  for (let attempt = 0; ; attempt += 1) {
    const dead = new AbortController();
    let watchdog = setTimeout(() => dead.abort(), SILENCE_MS);
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (lastId !== "") headers["last-event-id"] = lastId;
      const response = await request("/api/v1/events", { headers, signal: dead.signal, cache: "no-store" });
      if (response.body === null) throw new RequestError("no event stream", response.status);
      onConnection(true);
      const parser = new EventStreamParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => dead.abort(), SILENCE_MS);
        attempt = 0;
        for (const event of parser.push(value)) {
          if (event.id !== "") lastId = event.id;
          const update = toUpdate(event.name, event.data);
          if (update) onUpdate(update);
        }
      }
    } catch {
      // Whatever it was: connect again. The banner says that the connection is lost.
    } finally {
      clearTimeout(watchdog);
      dead.abort();
    }
    onConnection(false);
    await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** attempt, 5_000) * (0.75 + Math.random() / 2)));
  }
}

/** What an event says; nothing for a heartbeat and what a newer server may send. */
export function toUpdate(name: string, data: string): Update | undefined {
  switch (name) {
    case "snapshot": {
      const { items } = JSON.parse(data) as { items: readonly Resource[] };
      return { kind: "snapshot", items };
    }
    case "change": {
      const { type, object } = JSON.parse(data) as { type: "ADDED" | "MODIFIED" | "DELETED"; object: Resource };
      return { kind: "change", type, object };
    }
    default:
      return undefined;
  }
}
