// What the address says is shown. After the hash, so that the server need not know. Pure.

export type Route =
  | { readonly view: "overview" }
  | { readonly view: "camera"; readonly namespace: string; readonly name: string; readonly at?: number };

/** The link to a camera, live or at an instant of its recordings (milliseconds since the epoch). */
export function cameraLink(namespace: string, name: string, at?: number): string {
  const path = `#/cameras/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  return at === undefined ? path : `${path}?at=${new Date(at).toISOString()}`;
}

/** What an address' hash means; the overview where it means nothing. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?", 2);
  const match = /^\/cameras\/([^/]+)\/([^/]+)$/.exec(path);
  if (!match) return { view: "overview" };
  const [, namespace = "", name = ""] = match;
  try {
    const at = Date.parse(new URLSearchParams(query).get("at") ?? "");
    const route = { view: "camera", namespace: decodeURIComponent(namespace), name: decodeURIComponent(name) } as const;
    return Number.isNaN(at) ? route : { ...route, at };
  } catch {
    return { view: "overview" };
  }
}
