"use strict";
// Renders /openapi.json. No library, no network beyond this server.

const METHODS = ["get", "post", "put", "patch", "delete"];
let spec = null;

function element(name, text = "", attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  made.append(...children);
  return made;
}

const resolve = (schema) =>
  schema?.$ref ? schema.$ref.slice(2).split("/").reduce((node, key) => node[key], spec) : schema;

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" | ");
  if (schema.type === "array") return `${typeName(schema.items)}[]`;
  if (schema.format === "binary") return "file";
  return [schema.type, schema.format && `(${schema.format})`].filter(Boolean).join(" ");
}

function limits(schema) {
  const parts = [schema, ...(schema.anyOf || [])];
  const names = { minimum: "≥", maximum: "≤", minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤" };
  return parts.flatMap((part) => Object.keys(names).filter((key) => part[key] !== undefined).map((key) => `${names[key]} ${part[key]}`)).join(", ");
}

function fieldRow(name, schema, required, description) {
  const about = [description || schema.description, limits(schema),
    schema.default !== undefined && schema.default !== null ? `default ${JSON.stringify(schema.default)}` : ""];
  return element("tr", "", {},
    element("td", "", {}, element("code", name), required ? element("small", " required") : ""),
    element("td", "", {}, element("code", typeName(schema))),
    element("td", about.filter(Boolean).join(" · ")));
}

function fieldTable(rows) {
  return element("div", "", { className: "scroll" }, element("table", "", {}, element("tbody", "", {}, ...rows)));
}

function schemaTable(schema) {
  const resolved = resolve(schema);
  const rows = Object.entries(resolved?.properties || {})
    .map(([name, part]) => fieldRow(name, part, (resolved.required || []).includes(name)));
  return rows.length ? fieldTable(rows) : element("p", "", {}, element("code", typeName(schema)));
}

function exampleOf(method, path, operation) {
  const [kind, content] = Object.entries(operation.requestBody?.content || {})[0] || [];
  let line = `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${location.origin}${path}`;
  const schema = resolve(content?.schema);
  const required = (schema?.required || []).map((name) => [name, resolve(schema.properties[name])]);
  if (kind === "application/json") {
    const body = Object.fromEntries(required.map(([name, part]) => [name, part.enum?.[0] ?? "…"]));
    line += ` \\\n  -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`;
  } else if (kind) {
    const isFile = (part) => JSON.stringify(part).includes("binary");
    line += required.map(([name, part]) => ` \\\n  -F ${name}=${isFile(part) ? "@FILE" : "…"}`).join("");
  }
  return element("pre", line);
}

function showOperation(path, method, operation) {
  const id = operation.operationId;
  const card = element("section", "", { className: "card operation", id });
  card.append(element("h3", "", {}, element("span", method.toUpperCase(), { className: `method ${method}` }), element("code", path),
    element("span", operation.summary || "")));
  if (operation.description) card.append(element("p", operation.description));
  const scopes = (operation.security || []).flatMap(({ bearer }) => bearer || []);
  if (operation.security?.length) card.append(element("p", scopes.length ? `Needs a key with the scope ${scopes.join(" or ")}.` : "Needs any key."));
  card.append(exampleOf(method, path, operation));
  if (operation.parameters?.length) {
    card.append(element("strong", "Parameters"), fieldTable(operation.parameters.map((parameter) =>
      fieldRow(parameter.name, parameter.schema, parameter.required, parameter.description))));
  }
  for (const [kind, content] of Object.entries(operation.requestBody?.content || {})) {
    card.append(element("strong", `Body: ${kind}`), schemaTable(content.schema));
  }
  const answers = element("details", "", {}, element("summary", "Responses"));
  for (const [status, response] of Object.entries(operation.responses)) {
    answers.append(element("p", "", {}, element("code", status), ` ${response.description}`));
    const content = response.content?.["application/json"];
    if (content) answers.append(schemaTable(content.schema));
    const headers = Object.entries(response.headers || {});
    if (headers.length) answers.append(fieldTable(headers.map(([name, header]) => fieldRow(name, header.schema, false, header.description))));
  }
  card.append(answers);
  return card;
}

async function show() {
  spec = await (await fetch("/openapi.json")).json();
  document.querySelector("#version").textContent = `version ${spec.info.version}`;
  document.querySelector("#about").textContent = spec.info.description.replaceAll("`", "");
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const [tag] = item[method].tags || ["Other"];
      groups.set(tag, [...(groups.get(tag) || []), [path, method, item[method]]]);
    }
  }
  for (const tag of [...new Set([...(spec.tags || []).map(({ name }) => name), ...groups.keys()])].filter((name) => groups.has(name))) {
    const operations = groups.get(tag);
    document.querySelector("#contents").append(element("strong", tag), ...operations.map(([path, , operation]) =>
      element("a", operation.summary || path, { href: `#${operation.operationId}` })));
    document.querySelector("#operations").append(element("h2", tag), ...operations.map((each) => showOperation(...each)));
  }
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
}

show().catch((error) => { document.querySelector("#about").textContent = `The specification cannot be read: ${error.message}`; });
