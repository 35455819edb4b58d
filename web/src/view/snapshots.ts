// Keeps the pictures of many tiles fresh over few connections: browsers allow six to one server over HTTP/1.1, and the live
// video of an opened camera and the events need theirs. Only what can be seen is fetched, at most two at a time.

import { RequestError, snapshot } from "../api/client";

/** One picture that is kept fresh. */
export interface SnapshotTarget {
  readonly path: string;
  /** Whether there can be a picture: not for a camera that is stopped. */
  wanted(): boolean;
  show(url: string, captured: number): void;
  /** There is no picture now; the last one stays as it is. */
  miss(): void;
}

interface Entry {
  readonly target: SnapshotTarget;
  visible: boolean;
  busy: boolean;
  /** Not before this, by `performance.now()`. */
  due: number;
  url: string;
}

const CONCURRENCY = 2;
/** A picture is asked for this long after the one before it, so that few tiles look alive. */
const INTERVAL_MS = 1_000;
/** And this long where there was none. */
const MISS_INTERVAL_MS = 4_000;
const TIMEOUT_MS = 15_000;

/** Which of the entries is next: the one that has been due the longest. Pure. */
export function nextDue<E extends { readonly visible: boolean; readonly busy: boolean; readonly due: number }>(
  entries: Iterable<E>,
  now: number,
): E | undefined {
  let best: E | undefined;
  for (const entry of entries) {
    if (!entry.visible || entry.busy || entry.due > now) continue;
    if (!best || entry.due < best.due) best = entry;
  }
  return best;
}

export class Snapshots {
  readonly #entries = new Map<Element, Entry>();
  readonly #observer: IntersectionObserver;
  #running = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#observer = new IntersectionObserver(
      (changes) => {
        for (const change of changes) {
          const entry = this.#entries.get(change.target);
          if (entry) entry.visible = change.isIntersecting;
        }
        this.#pump();
      },
      { rootMargin: "120px" },
    );
    document.addEventListener("visibilitychange", () => this.#pump());
  }

  add(element: Element, target: SnapshotTarget): void {
    this.#entries.set(element, { target, visible: false, busy: false, due: 0, url: "" });
    this.#observer.observe(element);
  }

  remove(element: Element): void {
    const entry = this.#entries.get(element);
    if (entry && entry.url !== "") URL.revokeObjectURL(entry.url);
    this.#entries.delete(element);
    this.#observer.unobserve(element);
  }

  /** Asks for a picture at once: the camera has come back. */
  hurry(element: Element): void {
    const entry = this.#entries.get(element);
    if (!entry) return;
    entry.due = 0;
    this.#pump();
  }

  #pump(): void {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const now = performance.now();
    while (this.#running < CONCURRENCY) {
      const entry = nextDue(this.#entries.values(), now);
      if (!entry) break;
      if (entry.target.wanted()) void this.#fetch(entry);
      else entry.due = now + INTERVAL_MS;
    }
    this.#timer = setTimeout(() => this.#pump(), 250);
  }

  async #fetch(entry: Entry): Promise<void> {
    this.#running += 1;
    entry.busy = true;
    try {
      const { picture, captured } = await snapshot(entry.target.path, AbortSignal.timeout(TIMEOUT_MS));
      const url = URL.createObjectURL(picture);
      const before = entry.url;
      entry.url = url;
      entry.target.show(url, captured);
      // The old picture stays on screen until the new one is decoded.
      if (before !== "") setTimeout(() => URL.revokeObjectURL(before), 1_000);
      entry.due = performance.now() + INTERVAL_MS;
    } catch (error) {
      entry.target.miss();
      const gone = error instanceof RequestError && error.status === 404;
      entry.due = performance.now() + (gone ? 3 * MISS_INTERVAL_MS : MISS_INTERVAL_MS);
    } finally {
      entry.busy = false;
      this.#running -= 1;
      this.#pump();
    }
  }
}
