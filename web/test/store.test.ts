import { expect, test } from "vitest";
import type { Camera, Recording, Stream } from "../src/api/objects";
import { Store } from "../src/model/store";

const camera = (name: string, namespace?: string): Camera => ({
  kind: "Camera",
  metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  spec: { source: { test: {} } },
});
const stream = (name: string, of: string, namespace: string): Stream => ({
  kind: "Stream",
  metadata: { name, namespace },
  spec: { cameraRef: { name: of }, output: { hls: {} } },
});
const recording = (name: string, of: string): Recording => ({
  kind: "Recording",
  metadata: { name },
  spec: { cameraRef: { name: of }, continuous: {} },
});

test("a snapshot replaces everything, a change only its object", () => {
  const store = new Store();
  let calls = 0;
  const unsubscribe = store.subscribe(() => (calls += 1));
  expect(store.loaded).toBe(false);
  store.apply({ kind: "snapshot", items: [camera("camera-10"), camera("camera-2"), recording("camera-2", "camera-2")] });
  expect(store.loaded).toBe(true);
  expect(store.cameras().map(({ metadata }) => metadata.name)).toEqual(["camera-2", "camera-10"]);
  // An object of the same name but another kind is another object.
  store.apply({ kind: "change", type: "DELETED", object: camera("camera-2") });
  store.apply({ kind: "change", type: "ADDED", object: camera("camera-3") });
  expect(store.cameras().map(({ metadata }) => metadata.name)).toEqual(["camera-3", "camera-10"]);
  expect(store.recordingsOf(camera("camera-2"))).toHaveLength(1);
  store.apply({ kind: "snapshot", items: [] });
  expect(store.cameras()).toEqual([]);
  expect(calls).toBe(4);
  unsubscribe();
  store.apply({ kind: "snapshot", items: [] });
  expect(calls).toBe(4);
});

test("streams belong to the camera of their own namespace", () => {
  const store = new Store();
  const [north, south] = [camera("gate", "north"), camera("gate", "south")];
  store.apply({ kind: "snapshot", items: [north, south, stream("gate", "gate", "north")] });
  expect(store.streamsOf(north)).toHaveLength(1);
  expect(store.streamsOf(south)).toHaveLength(0);
  expect(store.camera("south", "gate")).toBe(south);
});
