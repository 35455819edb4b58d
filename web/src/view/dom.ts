// The few things that this page needs to make elements. Text only ever becomes text nodes, never markup.

type Child = Node | string | null | undefined | false;

interface Properties {
  readonly class?: string | undefined;
  readonly text?: string;
  readonly on?: { readonly [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
  /** Attributes; `undefined` and `false` leave one out, `true` sets it empty. */
  readonly [attribute: string]: unknown;
}

/** Makes an element. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name === "class") element.className = String(value);
    else if (name === "text") element.textContent = String(value);
    else if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener as EventListener);
    } else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** Sets text where it changed, so that nothing is announced or selected away for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute where it changed. */
export function setAttribute(element: Element, name: string, value: string | undefined): void {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const ICONS = {
  back: "M15 5l-7 7 7 7",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 5v14M16 5v14",
  stop: "M7 7h10v10H7z",
  restart: "M19 12a7 7 0 1 1-2.2-5.1M19 3v4.5h-4.5",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  mute: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM16 9.5l5 5m0-5l-5 5",
  sound: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  camera: "M4 8h3l1.5-2.5h7L17 8h3v11H4zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  earlier: "M14 6l-6 6 6 6",
  later: "M10 6l6 6-6 6",
  theme: "M12 3.5a8.5 8.5 0 1 0 0 17zM12 3.5a8.5 8.5 0 0 1 0 17",
  warning: "M12 4.5L21 19.5H3zM12 10.5v4M12 17v.5",
} as const;

export type Icon = keyof typeof ICONS;

/** An icon, for decoration: what it means must stand beside it or in a label. */
export function icon(name: Icon): SVGSVGElement {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and a label; the label is hidden from eyes only, when `compact`. */
export function button(name: Icon, label: string, onClick: () => void, compact = false): HTMLButtonElement {
  return h(
    "button",
    { type: "button", class: compact ? "button compact" : "button", title: compact ? label : undefined, on: { click: onClick } },
    icon(name),
    h("span", { class: compact ? "unseen" : "label", text: label }),
  );
}

/** A component of a list: an element and how to bring it up to date. */
export interface Component<T> {
  readonly element: HTMLElement;
  update(item: T): void;
  /** Lets go of what it holds beside its element. */
  dispose?(): void;
}

/** Keeps a container's children in step with a list, reusing elements, so that focus and pictures stay. */
export class KeyedList<T> {
  readonly #components = new Map<string, Component<T>>();

  constructor(
    readonly container: HTMLElement,
    private readonly keyOf: (item: T) => string,
    private readonly create: (item: T) => Component<T>,
  ) {}

  update(items: readonly T[]): void {
    const wanted = new Set(items.map((item) => this.keyOf(item)));
    for (const [key, component] of this.#components) {
      if (wanted.has(key)) continue;
      component.element.remove();
      component.dispose?.();
      this.#components.delete(key);
    }
    let before = this.container.firstElementChild;
    for (const item of items) {
      const key = this.keyOf(item);
      let component = this.#components.get(key);
      if (!component) {
        component = this.create(item);
        this.#components.set(key, component);
      }
      component.update(item);
      if (component.element === before) before = before.nextElementSibling;
      else this.container.insertBefore(component.element, before);
    }
  }

  dispose(): void {
    for (const component of this.#components.values()) component.dispose?.();
    this.#components.clear();
  }
}
