// A recording's coverage over time: what is held, what is missing and why. Click to play there, drag to choose a part; the
// arrow keys and Enter do the same. Must not fetch anything.

import { serverNow } from "../api/client";
import { gapAt, heldSpans, ticks, type Coverage, type Span } from "../model/coverage";
import { reasonInWords, toneOfReason } from "../model/state";
import { clock, day, duration, HOUR, MINUTE } from "../model/time";
import { h, setAttribute, setText } from "./dom";

/** Pixels of movement that make a click a drag. */
const DRAG_PX = 6;

export class Timeline {
  readonly element = h("div", { class: "timeline" });
  /** Somebody asks to play at an instant. */
  onSeek: (instant: number) => void = () => undefined;
  /** Somebody chose a part. */
  onSelect: (span: Span) => void = () => undefined;

  readonly #track = h("div", {
    class: "timeline-track",
    role: "slider",
    tabindex: "0",
    "aria-label": "Recorded time. Arrow keys move by a minute, with Shift by ten; Enter plays.",
  });
  readonly #spans = h("div", { class: "timeline-spans" });
  readonly #labels = h("div", { class: "timeline-labels", "aria-hidden": "true" });
  readonly #cursor = h("div", { class: "timeline-cursor" });
  readonly #hover = h("div", { class: "timeline-hover" });
  readonly #tip = h("div", { class: "timeline-tip", role: "presentation" });
  readonly #selection = h("div", { class: "timeline-selection" });
  #window: Span = { from: 0, to: 1 };
  #coverage: Coverage | undefined;
  #position: number | undefined;
  #selected: Span | undefined;
  #press: { readonly x: number; readonly at: number; dragged: boolean } | undefined;

  constructor() {
    this.#track.append(this.#spans, this.#selection, this.#hover, this.#cursor, this.#tip);
    this.element.append(this.#track, this.#labels);
    this.#tip.hidden = this.#hover.hidden = this.#cursor.hidden = this.#selection.hidden = true;
    this.#track.addEventListener("pointermove", (event) => this.#move(event));
    this.#track.addEventListener("pointerdown", (event) => this.#down(event));
    this.#track.addEventListener("pointerup", (event) => this.#up(event));
    this.#track.addEventListener("pointercancel", () => this.#leave());
    this.#track.addEventListener("pointerleave", () => this.#leave());
    this.#track.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#drawLabels()).observe(this.element);
  }

  /** Shows a span; coverage that is known of it stays. */
  set window(window: Span) {
    this.#window = window;
    this.#draw();
  }

  set coverage(coverage: Coverage | undefined) {
    this.#coverage = coverage;
    this.#draw();
  }

  /** The instant that is played; nothing while live. */
  set position(position: number | undefined) {
    this.#position = position;
    this.#drawCursor();
  }

  /** The part that is chosen for saving. */
  set selection(span: Span | undefined) {
    this.#selected = span;
    this.#place(this.#selection, span);
  }

  #share(instant: number): number {
    return (instant - this.#window.from) / (this.#window.to - this.#window.from);
  }

  #instantAt(x: number): number {
    const box = this.#track.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (x - box.left) / box.width));
    return this.#window.from + share * (this.#window.to - this.#window.from);
  }

  #place(element: HTMLElement, span: Span | undefined): void {
    const from = span ? Math.max(0, this.#share(span.from)) : 0;
    const to = span ? Math.min(1, this.#share(span.to)) : 0;
    element.hidden = to <= from;
    element.style.left = `${from * 100}%`;
    element.style.width = `${(to - from) * 100}%`;
  }

  #draw(): void {
    const spans: HTMLElement[] = [];
    if (this.#coverage) {
      for (const span of heldSpans(this.#coverage)) {
        const element = h("div", { class: "held" });
        this.#place(element, span);
        spans.push(element);
      }
      for (const gap of this.#coverage.gaps) {
        const element = h("div", { class: "gap", "data-tone": toneOfReason(gap.reason) });
        this.#place(element, gap);
        spans.push(element);
      }
    }
    this.#spans.replaceChildren(...spans);
    this.#place(this.#selection, this.#selected);
    this.#drawCursor();
    this.#drawLabels();
  }

  #drawCursor(): void {
    const position = this.#position;
    const share = position === undefined ? -1 : this.#share(position);
    this.#cursor.hidden = share < 0 || share > 1;
    this.#cursor.style.left = `${share * 100}%`;
    setAttribute(this.#track, "aria-valuemin", String(Math.round(this.#window.from / 1_000)));
    setAttribute(this.#track, "aria-valuemax", String(Math.round(this.#window.to / 1_000)));
    setAttribute(this.#track, "aria-valuenow", String(Math.round((position ?? this.#window.to) / 1_000)));
    setAttribute(this.#track, "aria-valuetext", position === undefined ? "Live" : this.#describe(position));
  }

  #drawLabels(): void {
    const width = this.element.clientWidth;
    if (width === 0) return;
    const labels: HTMLElement[] = [];
    for (const { at, midnight } of ticks(this.#window, width / 72)) {
      const share = this.#share(at);
      // A label at the very edge would be cut.
      if (share < 0.02 || share > 0.98) continue;
      const text = midnight ? day(at) : clock(at, at, false);
      const label = h("span", { class: midnight ? "midnight" : undefined, text });
      label.style.left = `${share * 100}%`;
      labels.push(label);
    }
    this.#labels.replaceChildren(...labels);
  }

  #describe(instant: number): string {
    const gap = this.#coverage ? gapAt(this.#coverage, instant) : undefined;
    const time = clock(instant, serverNow());
    return gap ? `${time} — ${reasonInWords(gap.reason)}, ${duration(gap.to - gap.from)}` : time;
  }

  #move(event: PointerEvent): void {
    const instant = this.#instantAt(event.clientX);
    const share = this.#share(instant);
    this.#hover.hidden = this.#tip.hidden = false;
    this.#hover.style.left = `${share * 100}%`;
    setText(this.#tip, this.#describe(instant));
    // Kept within the track, whatever its text.
    const half = this.#tip.offsetWidth / 2;
    const width = this.#track.clientWidth;
    this.#tip.style.left = `${Math.min(Math.max(share * width, half), Math.max(half, width - half))}px`;
    const press = this.#press;
    if (!press) return;
    if (Math.abs(event.clientX - press.x) > DRAG_PX) press.dragged = true;
    if (press.dragged) this.selection = { from: Math.min(press.at, instant), to: Math.max(press.at, instant) };
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.#track.setPointerCapture(event.pointerId);
    this.#press = { x: event.clientX, at: this.#instantAt(event.clientX), dragged: false };
  }

  #up(event: PointerEvent): void {
    const press = this.#press;
    this.#press = undefined;
    if (!press) return;
    if (press.dragged && this.#selected) this.onSelect(this.#selected);
    else this.onSeek(this.#instantAt(event.clientX));
    if (event.pointerType === "touch") this.#leave();
  }

  #leave(): void {
    this.#press = undefined;
    this.#hover.hidden = this.#tip.hidden = true;
  }

  #key(event: KeyboardEvent): void {
    const step = event.shiftKey ? 10 * MINUTE : event.ctrlKey ? HOUR : MINUTE;
    const { from, to } = this.#window;
    const position = this.#position ?? to;
    const moves: Record<string, number> = {
      ArrowLeft: position - step,
      ArrowRight: position + step,
      PageDown: position - HOUR,
      PageUp: position + HOUR,
      Home: from,
      End: to,
    };
    const moved = moves[event.key];
    if (moved !== undefined) this.position = Math.min(to, Math.max(from, moved));
    else if (event.key === "Enter" && this.#position !== undefined) this.onSeek(this.#position);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
