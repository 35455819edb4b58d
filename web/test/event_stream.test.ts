import { describe, expect, test } from "vitest";
import { toUpdate } from "../src/api/client";
import { EventStreamParser, type ServerEvent } from "../src/api/event_stream";

const text = ': hello\n\nevent: snapshot\nid: 7\ndata: {"items":\ndata: []}\n\nevent: heartbeat\r\ndata: {}\r\n\r\ndata:no space\rid\r\r';

const expected: ServerEvent[] = [
  { name: "snapshot", data: '{"items":\n[]}', id: "7" },
  { name: "heartbeat", data: "{}", id: "7" },
  { name: "message", data: "no space", id: "" },
];

describe("the event stream", () => {
  test("is the same in whatever pieces it comes", () => {
    for (let size = 1; size <= text.length; size += 1) {
      const parser = new EventStreamParser();
      const events: ServerEvent[] = [];
      for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
      // The last CR could be half of a CRLF until something follows it.
      events.push(...parser.push(":"));
      expect(events, `in pieces of ${size}`).toEqual(expected);
    }
  });

  test("is understood, and what is new is passed over", () => {
    expect(toUpdate("snapshot", '{"resourceVersion":"1","items":[]}')).toEqual({ kind: "snapshot", items: [] });
    const object = { kind: "Camera", metadata: { name: "a" }, spec: { source: { test: {} } } };
    expect(toUpdate("change", JSON.stringify({ type: "DELETED", object }))).toEqual({ kind: "change", type: "DELETED", object });
    expect(toUpdate("heartbeat", "{}")).toBeUndefined();
    expect(toUpdate("something-new", "not even JSON")).toBeUndefined();
  });
});
