// Shows openapi.json: every operation with its parameters, answers and schemas, and a form to try the ones that only read.
// Builds the page from text nodes only, so that nothing in the description can become markup.

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Text in which `code` stands between backticks.
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function resolve(api, schema) {
  const path = schema?.$ref?.split("/").slice(1);
  return path ? path.reduce((at, key) => at?.[key], api) : schema;
}

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.type === "array" || schema.items) return `${typeName(schema.items)}[]`;
  if (schema.oneOf) return schema.oneOf.map(typeName).join(" | ");
  return [].concat(schema.type ?? "any").join(" | ");
}

// A schema as an indented outline, each named schema opened once per branch.
function outline(api, schema, depth = 0, seen = []) {
  const found = resolve(api, schema);
  const name = schema?.$ref;
  if (!found || seen.includes(name) || depth > 5) return [];
  const inner = name ? [...seen, name] : seen;
  if (found.items) return outline(api, found.items, depth, inner);
  if (found.oneOf) return found.oneOf.flatMap((one) => outline(api, one, depth, inner));
  return Object.entries(found.properties ?? {}).flatMap(([key, value]) => {
    const optional = found.required?.includes(key) ? "" : "?";
    const about = (value.description ?? resolve(api, value)?.description ?? "").split("\n")[0];
    const line = `${"  ".repeat(depth)}${key}${optional}: ${typeName(value)}${about ? `   ${about}` : ""}`;
    return [line, ...outline(api, value, depth + 1, inner)];
  });
}

function parameterTable(parameters) {
  const rows = parameters.map((one) =>
    element("tr", {},
      element("td", {}, element("code", {}, one.name)),
      element("td", {}, `${one.in}${one.required ? "" : ", optional"}`),
      element("td", {}, ...prose(one.description ?? ""))));
  return element("table", {}, element("tbody", {}, ...rows));
}

function responseList(api, responses) {
  return Object.entries(responses).map(([status, response]) => {
    const [kind, content] = Object.entries(response.content ?? {})[0] ?? [];
    const lines = outline(api, content?.schema);
    const head = element("p", {}, element("strong", {}, status), " ", ...prose(response.description ?? ""), " ",
      element("code", {}, [kind, typeName(content?.schema)].filter(Boolean).join(" · ")));
    return lines.length && status < "300" ? element("div", {}, head, element("pre", {}, lines.join("\n"))) : head;
  });
}

function tryForm(path, parameters) {
  const inputs = parameters.filter((one) => one.in !== "header").map((one) => {
    const first = one.name === "ns" ? "default" : one.name === "kind" ? "cameras" : one.example ?? one.schema?.example ?? "";
    return [one, element("input", { name: one.name, value: first, ...(one.required ? { required: "" } : {}) })];
  });
  const output = element("pre", { hidden: "" });
  const form = element("form", {}, ...inputs.map(([one, input]) => element("label", {}, one.name, input)),
    element("button", {}, "Try"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let url = path;
    for (const [one, input] of inputs) {
      if (one.in === "path") url = url.replace(`{${one.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(one.name, input.value);
    }
    if (query.size) url += `?${query}`;
    output.hidden = false;
    output.textContent = `GET ${url}\n…`;
    try {
      const response = await fetch(url);
      const kind = response.headers.get("content-type") ?? "";
      let body = /json|text|mpegurl/.test(kind) ? await response.text() : `(${kind})`;
      if (kind.includes("json")) body = JSON.stringify(JSON.parse(body), null, 2);
      output.textContent = `GET ${url}\n${response.status} ${kind}\n\n${body}`;
    } catch (error) {
      output.textContent = `GET ${url}\n${error}`;
    }
  });
  return [form, output];
}

// An endless answer cannot be shown when it is complete.
const isEndless = (operation) => /event-stream|multipart/.test(JSON.stringify(operation.responses));

function card(api, path, method, operation) {
  const parameters = operation.parameters ?? [];
  const body = element("div", {});
  if (operation.description) body.append(element("p", {}, ...prose(operation.description)));
  if (parameters.length) body.append(parameterTable(parameters));
  body.append(...responseList(api, operation.responses));
  if (method === "get" && !isEndless(operation)) body.append(...tryForm(path, parameters));
  return element("details", { "data-words": `${path} ${operation.summary ?? ""} ${operation.tags ?? ""}`.toLowerCase() },
    element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()), " ",
      element("span", { class: "path" }, path), element("span", { class: "about" }, ...prose(operation.summary ?? ""))),
    body);
}

const api = await (await fetch("/openapi.json")).json();
document.getElementById("description").replaceChildren(
  ...prose(api.info.description), ` Version ${api.info.version}. `, element("a", { href: "/openapi.json" }, "openapi.json"));
const main = document.getElementById("operations");
for (const tag of api.tags) {
  const cards = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([, operation]) => operation.tags?.includes(tag.name))
      .map(([method, operation]) => card(api, path, method, operation)));
  if (cards.length) main.append(element("section", {}, element("h2", {}, tag.name), element("p", {}, tag.description ?? ""), ...cards));
}
document.getElementById("filter").addEventListener("input", ({ target }) => {
  for (const one of main.querySelectorAll("details")) one.hidden = !one.dataset.words.includes(target.value.toLowerCase());
});
