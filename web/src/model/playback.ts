// Finding an instant in a recorded playlist. Pure.

/** What is needed of a playlist's fragment; times on the playlist's own clock in seconds. */
export interface Fragment {
  readonly start: number;
  readonly duration: number;
  /** Milliseconds since the epoch. */
  readonly programDateTime: number | null;
}

/** Where in a playlist (seconds) an instant is: within the fragment that holds it, else at the next one after it. */
export function positionOf(fragments: readonly Fragment[], instant: number): number {
  for (const { start, duration, programDateTime } of fragments) {
    if (programDateTime === null) continue;
    if (instant < programDateTime) return start;
    const into = (instant - programDateTime) / 1_000;
    if (into < duration) return start + into;
  }
  return fragments[0]?.start ?? 0;
}
