// All that is known of the objects now, kept true by events. Must not know of the DOM or the network.

import type { Update } from "../api/client";
import { keyOf, namespaceOf, type Archive, type Camera, type Kind, type Recording, type Resource, type Stream } from "../api/objects";

type OfKind<K extends Kind> = Extract<Resource, { kind: K }>;

export class Store {
  readonly #objects = new Map<string, Resource>();
  readonly #listeners = new Set<() => void>();
  #loaded = false;

  /** Whether anything has been heard yet: before that, "no cameras" would be a lie. */
  get loaded(): boolean {
    return this.#loaded;
  }

  apply(update: Update): void {
    if (update.kind === "snapshot") {
      this.#objects.clear();
      for (const item of update.items) this.#objects.set(`${item.kind}/${keyOf(item)}`, item);
      this.#loaded = true;
    } else {
      const key = `${update.object.kind}/${keyOf(update.object)}`;
      if (update.type === "DELETED") this.#objects.delete(key);
      else this.#objects.set(key, update.object);
    }
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after every change, until the returned function is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #all<K extends Kind>(kind: K): OfKind<K>[] {
    const found: OfKind<K>[] = [];
    for (const object of this.#objects.values()) if (object.kind === kind) found.push(object as OfKind<K>);
    return found.sort((one, other) => compareNames(keyOf(one), keyOf(other)));
  }

  cameras(): Camera[] {
    return this.#all("Camera");
  }

  camera(namespace: string, name: string): Camera | undefined {
    return this.#objects.get(`Camera/${namespace}/${name}`) as Camera | undefined;
  }

  streamsOf(camera: Camera): Stream[] {
    return this.#all("Stream").filter((stream) => isOf(stream, camera));
  }

  recordingsOf(camera: Camera): Recording[] {
    return this.#all("Recording").filter((recording) => isOf(recording, camera));
  }

  archives(): Archive[] {
    return this.#all("Archive");
  }
}

function isOf(object: Stream | Recording, camera: Camera): boolean {
  return object.spec.cameraRef.name === camera.metadata.name && namespaceOf(object) === namespaceOf(camera);
}

/** camera-2 before camera-10. */
export function compareNames(one: string, other: string): number {
  return one.localeCompare(other, "en", { numeric: true });
}
