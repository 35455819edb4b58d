// What an object's conditions mean for a person who looks at it. Pure.

import type { Camera, Condition, Recording, Resource, Stream } from "../api/objects";

/**
 * `ok` all is well · `busy` on its way · `warning` not well, and put right by itself when it can be · `bad` needs a person ·
 * `idle` stopped or done on purpose.
 */
export type Tone = "ok" | "busy" | "warning" | "bad" | "idle";

export interface State {
  readonly tone: Tone;
  /** One or two words. */
  readonly label: string;
  /** One sentence, or nothing when the label says it all. */
  readonly message: string;
  /** RFC 3339; since when. */
  readonly since?: string;
  /** The number that documentation and errors use, where the reason has one. */
  readonly code?: number;
}

interface Words {
  readonly label: string;
  readonly tone: Tone;
  readonly code?: number;
}

/** The reasons of conditions and gaps in words. What is missing here is shown by its own name. */
const REASONS: Readonly<Record<string, Words>> = {
  Streaming: { label: "Ready", tone: "ok" },
  Slate: { label: "Slate shown", tone: "warning" },
  Recording: { label: "Recording", tone: "ok" },
  Connecting: { label: "Connecting", tone: "busy" },
  Pending: { label: "Starting", tone: "busy" },
  Unreachable: { label: "Unreachable", tone: "warning", code: 101 },
  NoVideo: { label: "No video", tone: "warning", code: 101 },
  Stalled: { label: "Stalled", tone: "warning", code: 101 },
  SourceEnded: { label: "Ended by the camera", tone: "warning", code: 101 },
  NotFound: { label: "Path not found", tone: "bad", code: 101 },
  CredentialRefused: { label: "Password refused", tone: "bad", code: 103 },
  SecretMissing: { label: "Secret missing", tone: "bad" },
  TargetUnreachable: { label: "Target unreachable", tone: "warning", code: 102 },
  TargetBusy: { label: "Target busy", tone: "warning", code: 102 },
  PushStalled: { label: "Target stalled", tone: "warning", code: 102 },
  PushEnded: { label: "Ended by the target", tone: "warning", code: 102 },
  PushRefused: { label: "Refused by the target", tone: "bad", code: 103 },
  FFmpegFailed: { label: "FFmpeg failed", tone: "warning", code: 102 },
  FFmpegMissing: { label: "FFmpeg missing", tone: "bad", code: 102 },
  ReconnectLimitReached: { label: "Given up", tone: "bad", code: 104 },
  CodecNotCarried: { label: "Codec not carried", tone: "bad" },
  ClockStepped: { label: "Clock was stepped", tone: "warning" },
  ConfigurationChanged: { label: "Camera settings changed", tone: "warning" },
  CameraUnavailable: { label: "Waiting for the camera", tone: "warning" },
  ArchiveUnavailable: { label: "Archive unavailable", tone: "bad" },
  ArchiveLocked: { label: "Archive in use elsewhere", tone: "bad" },
  ArchiveOwnedByAnother: { label: "Folder of another owner", tone: "bad" },
  ArchiveFull: { label: "Disk full", tone: "bad" },
  ArchiveWriteFailed: { label: "Disk cannot be written", tone: "bad" },
  RecorderOverrun: { label: "Disk too slow", tone: "warning" },
  Stopped: { label: "Stopped", tone: "idle" },
  Suspended: { label: "Stopped", tone: "idle" },
  DeadlineReached: { label: "Complete", tone: "idle" },
  ShuttingDown: { label: "Shutting down", tone: "idle" },
  RecorderDown: { label: "Recorder was not running", tone: "warning" },
  NotRecorded: { label: "Not recorded yet", tone: "idle" },
  Deleted: { label: "Deleted by retention", tone: "idle" },
  Undecodable: { label: "No key frame", tone: "warning" },
};

/** A reason in words: `CredentialRefused` → "Password refused", `SomethingNew` → "Something new". */
export function reasonInWords(reason: string): string {
  const known = REASONS[reason];
  if (known) return known.label;
  const words = reason.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** How a reason is to be looked at. */
export function toneOfReason(reason: string): Tone {
  return REASONS[reason]?.tone ?? "warning";
}

function find(conditions: readonly Condition[], type: string): Condition | undefined {
  return conditions.find((condition) => condition.type === type);
}

/** How an object is doing. */
export function stateOf(resource: Resource): State {
  const conditions = resource.status?.conditions ?? [];
  const complete = find(conditions, "Complete");
  if (complete?.status === "True") {
    return { tone: "idle", label: "Complete", message: complete.message, since: complete.lastTransitionTime };
  }
  const failed = find(conditions, "Failed");
  if (failed?.status === "True") return fromCondition(failed, "bad");
  const ready = find(conditions, "Ready");
  if ("suspend" in resource.spec && resource.spec.suspend === true) {
    const since = ready?.reason === "Suspended" ? { since: ready.lastTransitionTime } : {};
    return { tone: "idle", label: "Stopped", message: "Stopped on purpose. Start it to go on.", ...since };
  }
  if (!ready) return { tone: "busy", label: "Starting", message: "" };
  if (ready.status === "True") {
    return { tone: "ok", label: resource.kind === "Recording" ? "Recording" : "Ready", message: "", since: ready.lastTransitionTime };
  }
  return fromCondition(ready, ready.status === "Unknown" ? "busy" : undefined);
}

function fromCondition(condition: Condition, tone?: Tone): State {
  const words = REASONS[condition.reason];
  const known = words?.tone === "ok" ? "warning" : (words?.tone ?? "warning");
  return {
    tone: tone ?? known,
    label: words?.tone === "ok" ? "Not ready" : reasonInWords(condition.reason),
    message: condition.message,
    since: condition.lastTransitionTime,
    ...(words?.code === undefined ? {} : { code: words.code }),
  };
}

/** What else is to be said of an object: conditions beside the well-known ones that hold now. */
export function noticesOf(resource: Resource): Condition[] {
  const known = new Set(["Ready", "Reachable", "Complete", "Failed"]);
  return (resource.status?.conditions ?? []).filter(({ type, status }) => status === "True" && !known.has(type));
}

const CODECS: Readonly<Record<string, string>> = { H264: "H.264", H265: "H.265" };

/** What a camera sends, shortest first: `["1920 × 1080", "25 fps", "H.264"]`. */
export function mediaInWords(camera: Camera): string[] {
  const media = camera.status?.media;
  if (!media) return [];
  const rate = Number(media.framesPerSecond);
  const words = [`${media.width} × ${media.height}`];
  if (Number.isFinite(rate) && rate > 0) words.push(`${rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10} fps`);
  words.push(CODECS[media.videoCodec] ?? media.videoCodec);
  return words;
}

/** Where a camera's pictures come from: `rtsp`, and its address as far as it is no secret. */
export function sourceOf(camera: Camera): { readonly kind: string; readonly address: string } {
  const [kind, source] = Object.entries(camera.spec.source).find(([, value]) => value !== undefined && value !== null) ?? ["", {}];
  const address = source?.["url"] ?? source?.["device"];
  return { kind, address: typeof address === "string" ? address : "" };
}

export interface RecordingBadge {
  readonly tone: Tone;
  readonly label: string;
  /** Share of the last closed hour, as the status has it: `99.87%`. */
  readonly lastHour?: string;
}

/** The one badge for all recordings of a camera: the worst of those that are meant to run. Nothing when none is. */
export function recordingBadge(recordings: readonly Recording[]): RecordingBadge | undefined {
  const order: readonly Tone[] = ["bad", "warning", "busy", "ok"];
  const states = recordings
    .map((recording) => ({ recording, state: stateOf(recording) }))
    .filter(({ state }) => state.tone !== "idle")
    .sort((one, other) => order.indexOf(one.state.tone) - order.indexOf(other.state.tone));
  const worst = states[0];
  if (!worst) return undefined;
  const lastHour = recordings.find((recording) => recording.spec.continuous)?.status?.coverage?.lastHour;
  const label = worst.state.tone === "ok" ? "Recording" : `Not recording: ${worst.state.label.toLowerCase()}`;
  return { tone: worst.state.tone, label, ...(lastHour === undefined ? {} : { lastHour: percent(lastHour) }) };
}

/** A share as the status writes it (`99.87` or `99.87%`), for people: `99.87 %`. */
export function percent(share: string): string {
  return `${share.replace(/\s*%$/, "")}\u202f%`;
}

/** Whether a page can play a stream; a push goes elsewhere. */
export function isPlayable(stream: Stream): boolean {
  return stream.spec.output.push === undefined;
}

/** Which stream a page plays first: low latency HLS, HLS, MJPEG; those that are ready before those that are not. */
export function bestStream(streams: readonly Stream[]): Stream | undefined {
  const rank = (stream: Stream): number => {
    const { hls, mjpeg } = stream.spec.output;
    const kind = hls ? (hls.lowLatency === true ? 0 : 1) : mjpeg ? 2 : 3;
    return kind + (stateOf(stream).tone === "ok" ? 0 : 10);
  };
  return streams.filter(isPlayable).sort((one, other) => rank(one) - rank(other))[0];
}

/** What a stream is, in words. */
export function outputInWords(stream: Stream): string {
  const { hls, mjpeg, push } = stream.spec.output;
  if (push) return `Push to ${stream.status?.push?.target ?? push.url}`;
  if (hls) return hls.lowLatency === true ? "HLS, low latency" : "HLS";
  return mjpeg ? "MJPEG" : "Stream";
}
