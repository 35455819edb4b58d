// The objects of the API, as far as this page reads them: shaped as Kubernetes shapes them, group camera-operator.dev.

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
}

export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

interface Reference {
  readonly name: string;
}

export interface Media {
  /** `H264`, `H265`, `MJPEG`. */
  readonly videoCodec: string;
  readonly width: number;
  readonly height: number;
  /** As measured, such as `25` or `0.5`. */
  readonly framesPerSecond: string;
  /** Absent = no sound. */
  readonly audioCodec?: string;
}

export interface Camera {
  readonly kind: "Camera";
  readonly metadata: Metadata;
  readonly spec: {
    readonly source: Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;
    readonly suspend?: boolean;
  };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly media?: Media };
}

export interface Stream {
  readonly kind: "Stream";
  readonly metadata: Metadata;
  readonly spec: {
    readonly cameraRef: Reference;
    readonly output: {
      readonly hls?: { readonly lowLatency?: boolean; readonly segmentDuration?: string };
      readonly mjpeg?: { readonly framesPerSecond?: number };
      readonly push?: { readonly url: string };
    };
    readonly suspend?: boolean;
  };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly path?: string;
    readonly push?: { readonly target: string; readonly watchUrl?: string };
  };
}

export interface Gap {
  /** RFC 3339. */
  readonly from: string;
  /** RFC 3339. */
  readonly to: string;
  readonly reason: string;
}

export interface Recording {
  readonly kind: "Recording";
  readonly metadata: Metadata;
  readonly spec: {
    readonly cameraRef: Reference;
    readonly archiveRef?: Reference;
    readonly continuous?: { readonly segmentDuration?: string };
    readonly clip?: { readonly duration?: string; readonly stop?: boolean };
    readonly retention?: { readonly maxAge?: string; readonly maxSize?: string };
    readonly suspend?: boolean;
  };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly startTime?: string;
    readonly completionTime?: string;
    readonly progressPercent?: number;
    readonly coverage?: { readonly lastHour?: string; readonly lastDay?: string };
    readonly lastGaps?: readonly Gap[];
  };
}

export interface Archive {
  readonly kind: "Archive";
  readonly metadata: Metadata;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export type Resource = Camera | Stream | Recording | Archive;
export type Kind = Resource["kind"];

/** The plural of a kind, as URLs write it. */
export const PLURALS: Readonly<Record<Kind, string>> = {
  Camera: "cameras",
  Stream: "streams",
  Recording: "recordings",
  Archive: "archives",
};

/** The namespace of an object; `default` where its manifest names none. */
export function namespaceOf(resource: { readonly metadata: Metadata }): string {
  return resource.metadata.namespace ?? "default";
}

/** Tells an object from all others of its kind: `namespace/name`. */
export function keyOf(resource: { readonly metadata: Metadata }): string {
  return `${namespaceOf(resource)}/${resource.metadata.name}`;
}

/** The path of an object in the REST API. */
export function pathOf(resource: Resource): string {
  const namespace = encodeURIComponent(namespaceOf(resource));
  return `/api/v1/namespaces/${namespace}/${PLURALS[resource.kind]}/${encodeURIComponent(resource.metadata.name)}`;
}

/** The path beneath which a stream's or a recording's media is. */
export function mediaPathOf(resource: Stream | Recording): string {
  const root = resource.kind === "Stream" ? "live" : "recordings";
  return `/${root}/${encodeURIComponent(namespaceOf(resource))}/${encodeURIComponent(resource.metadata.name)}`;
}
