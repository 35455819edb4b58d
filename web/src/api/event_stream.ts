// Reads server-sent events (WHATWG HTML, section 9.2.6) from text as it comes. Pure: no network, no timers.

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
  /** The last id that the server sent, in this event or before it. */
  readonly id: string;
}

/** Takes the text of a stream in pieces of any size and gives the events that are complete. */
export class EventStreamParser {
  #rest = "";
  #name = "";
  #data: string[] = [];
  #id = "";

  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.#rest += text;
    // A line ends with LF, CR or CRLF; a CR at the very end may be half of a CRLF, so it waits.
    const line = /([^\r\n]*)(\r\n|\n|\r(?!$))/y;
    let consumed = 0;
    for (let match = line.exec(this.#rest); match !== null; match = line.exec(this.#rest)) {
      consumed = line.lastIndex;
      const event = this.#line(match[1] ?? "");
      if (event) events.push(event);
    }
    this.#rest = this.#rest.slice(consumed);
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === "") {
      const event = { name: this.#name || "message", data: this.#data.join("\n"), id: this.#id };
      const complete = this.#data.length > 0;
      this.#name = "";
      this.#data = [];
      return complete ? event : undefined;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    switch (field) {
      case "event":
        this.#name = value;
        break;
      case "data":
        this.#data.push(value);
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      default: // comments (no field name), `retry` and what the standard does not know
    }
    return undefined;
  }
}
