import { expect, test } from "vitest";
import { nextDue } from "../src/view/snapshots";

test("the tile that has waited the longest is next; hidden and busy ones are passed over", () => {
  const entry = (name: string, due: number, visible = true, busy = false) => ({ name, due, visible, busy });
  const entries = [entry("later", 90), entry("hidden", 1, false), entry("busy", 2, true, true), entry("first", 50), entry("future", 200)];
  expect(nextDue(entries, 100)?.name).toBe("first");
  expect(nextDue(entries, 40)).toBeUndefined();
  expect(nextDue([], 100)).toBeUndefined();
});
