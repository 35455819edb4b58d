// Small parts that several views share: a state's pill, times, messages that come and go.

import { serverNow } from "../api/client";
import type { State } from "../model/state";
import { clock, utc } from "../model/time";
import { h, setAttribute, setText } from "./dom";

/** A pill that says how something is doing, in colour, shape and words. */
export class Pill {
  readonly element = h("span", { class: "pill" });
  readonly #label = h("span");

  constructor() {
    this.element.append(h("span", { class: "dot", "aria-hidden": "true" }), this.#label);
  }

  update(state: Pick<State, "tone" | "label">): void {
    setAttribute(this.element, "data-tone", state.tone);
    setText(this.#label, state.label);
  }
}

/** Shows an instant in the viewer's zone, with UTC in the tooltip; with the day, where that is not the day of `reference`. */
export function showTime(element: HTMLTimeElement, instant: number, reference = serverNow()): void {
  setAttribute(element, "datetime", new Date(instant).toISOString());
  setAttribute(element, "title", utc(instant));
  setText(element, clock(instant, reference));
}

/** A new element that shows an instant. */
export function time(instant: number, reference = serverNow()): HTMLTimeElement {
  const element = h("time");
  showTime(element, instant, reference);
  return element;
}

/** Messages that appear at the bottom and go by themselves; errors stay longer. */
export class Toasts {
  readonly element = h("div", { class: "toasts", role: "status", "aria-live": "polite" });

  show(message: string, tone: "ok" | "bad" = "ok"): void {
    const toast = h("div", { class: "toast", "data-tone": tone, text: message });
    toast.addEventListener("click", () => toast.remove());
    this.element.append(toast);
    setTimeout(() => toast.remove(), tone === "bad" ? 12_000 : 4_000);
  }
}

/** Asks before something that cannot be undone; resolves to whether it was confirmed. */
export function confirm(title: string, text: string, action: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" });
    const close = (result: string): void => dialog.close(result);
    dialog.append(
      h("h2", { id: "dialog-title", text: title }),
      h("p", { text }),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { type: "button", class: "button", text: "Cancel", on: { click: () => close("") } }),
        h("button", { type: "button", class: "button primary", text: action, on: { click: () => close("yes") } }),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A block of text to copy. */
export function codeBlock(text: string, toasts: Toasts): HTMLElement {
  const copy = h("button", {
    type: "button",
    class: "button copy",
    text: "Copy",
    on: {
      click: () => {
        navigator.clipboard.writeText(text).then(
          () => toasts.show("Copied"),
          () => toasts.show("The browser did not allow copying; select the text instead.", "bad"),
        );
      },
    },
  });
  // Only pages from https or localhost may write to the clipboard.
  return h("div", { class: "code" }, h("pre", { tabindex: "0" }, h("code", { text })), window.isSecureContext && copy);
}
