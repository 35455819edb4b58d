import { describe, expect, test } from "vitest";
import type { Camera, Condition, Recording, Stream } from "../src/api/objects";
import { bestStream, mediaInWords, noticesOf, outputInWords, percent, reasonInWords, recordingBadge, sourceOf, stateOf } from "../src/model/state";

const at = "2026-11-21T01:02:03Z";
const condition = (type: string, status: Condition["status"], reason: string, message = ""): Condition => ({
  type,
  status,
  reason,
  message,
  lastTransitionTime: at,
});
const camera = (conditions: Condition[], suspend = false): Camera => ({
  kind: "Camera",
  metadata: { name: "a" },
  spec: { source: { rtsp: { url: "rtsp://192.0.2.1/" } }, suspend },
  status: { conditions, media: { videoCodec: "H265", width: 640, height: 360, framesPerSecond: "14.985" } },
});
const recording = (conditions: Condition[], lastHour?: string): Recording => ({
  kind: "Recording",
  metadata: { name: "r" },
  spec: { cameraRef: { name: "a" }, continuous: {} },
  status: { conditions, ...(lastHour === undefined ? {} : { coverage: { lastHour } }) },
});
const stream = (name: string, output: Stream["spec"]["output"], ready: boolean): Stream => ({
  kind: "Stream",
  metadata: { name },
  spec: { cameraRef: { name: "a" }, output },
  status: { conditions: [condition("Ready", ready ? "True" : "False", ready ? "Streaming" : "CameraUnavailable")] },
});

describe("the state of a camera", () => {
  test.each([
    ["ready", [condition("Ready", "True", "Streaming")], false, "ok", "Ready"],
    ["stalled", [condition("Ready", "False", "Stalled", "No frame.")], false, "warning", "Stalled"],
    ["needs a person", [condition("Ready", "False", "CredentialRefused")], false, "bad", "Password refused"],
    ["not asked yet", [], false, "busy", "Starting"],
    ["unknown", [condition("Ready", "Unknown", "ReportUnavailable")], false, "busy", "Report unavailable"],
    ["stopped", [condition("Ready", "False", "Suspended")], true, "idle", "Stopped"],
    ["stopped a moment ago", [condition("Ready", "True", "Streaming")], true, "idle", "Stopped"],
    ["not ready for a reason that is fine", [condition("Ready", "False", "Streaming")], false, "warning", "Not ready"],
  ] as const)("%s", (_, conditions, suspended, tone, label) => {
    expect(stateOf(camera([...conditions], suspended))).toMatchObject({ tone, label });
  });

  test("carries message, time and code", () => {
    expect(stateOf(camera([condition("Ready", "False", "Unreachable", "Refused.")]))).toEqual({
      tone: "warning",
      label: "Unreachable",
      message: "Refused.",
      since: at,
      code: 101,
    });
  });

  test("beside it there are notices", () => {
    const all = [
      condition("Ready", "True", "Streaming"),
      condition("Reachable", "True", "Streaming"),
      condition("LongKeyframeInterval", "True", "LongKeyframeInterval", "A key frame every 120 s."),
      condition("SomethingOver", "False", "SomethingOver"),
    ];
    expect(noticesOf(camera(all)).map(({ message }) => message)).toEqual(["A key frame every 120 s."]);
  });

  test("media and source are in words", () => {
    expect(mediaInWords(camera([]))).toEqual(["640 × 360", "15 fps", "H.265"]);
    expect(sourceOf(camera([]))).toEqual({ kind: "rtsp", address: "rtsp://192.0.2.1/" });
    expect(sourceOf({ ...camera([]), spec: { source: { test: {} } } })).toEqual({ kind: "test", address: "" });
  });
});

test("a clip that is complete is neither stopped nor bad", () => {
  const complete = recording([condition("Complete", "True", "DeadlineReached", "Done."), condition("Ready", "False", "DeadlineReached")]);
  expect(stateOf(complete)).toMatchObject({ tone: "idle", label: "Complete" });
  expect(stateOf(recording([condition("Failed", "True", "ArchiveFull", "Full.")]))).toMatchObject({ tone: "bad", label: "Disk full" });
});

test("the recording badge tells the worst of what should run", () => {
  const good = recording([condition("Ready", "True", "Recording")], "99.87%");
  const bad = recording([condition("Ready", "False", "ArchiveFull")]);
  const done = recording([condition("Complete", "True", "DeadlineReached")]);
  expect(recordingBadge([])).toBeUndefined();
  expect(recordingBadge([done])).toBeUndefined();
  expect(recordingBadge([good, done])).toEqual({ tone: "ok", label: "Recording", lastHour: percent("99.87") });
  expect(recordingBadge([good, bad])).toMatchObject({ tone: "bad", label: "Not recording: disk full" });
});

test("reasons that are new are shown by their name", () => {
  expect(reasonInWords("RecorderOverrun")).toBe("Disk too slow");
  expect(reasonInWords("SomethingQuiteNew")).toBe("Something quite new");
});

test("the stream that plays first is ready and has the least delay", () => {
  const low = stream("low", { hls: { lowLatency: true } }, true);
  const plain = stream("plain", { hls: {} }, true);
  const mjpeg = stream("mjpeg", { mjpeg: {} }, true);
  expect(bestStream([mjpeg, plain, low])).toBe(low);
  expect(bestStream([mjpeg, stream("low", { hls: { lowLatency: true } }, false)])).toBe(mjpeg);
  expect(bestStream([])).toBeUndefined();
  const push = stream("push", { push: { url: "rtmp://192.0.2.1/live" } }, true);
  const waiting = stream("waits", { hls: {} }, false);
  expect(bestStream([push, waiting])).toBe(waiting);
  expect(bestStream([push])).toBeUndefined();
  expect(outputInWords(push)).toBe("Push to rtmp://192.0.2.1/live");
});
