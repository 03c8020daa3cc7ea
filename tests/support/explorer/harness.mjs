// The worker's script of the built page, asked by lines of JSON: {"method", "args"} in, {"result"} or {"error"} out.
// Bytes are {"$bytes": base64}, integers that are BigInts {"$int": decimal}, floats {"$floats": base64 of float64}, the
// files of a folder {"$folder": path}.

import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { runInThisContext } from "node:vm";

const html = readFileSync(process.argv[2], "utf8");
const source = /<script type="text\/plain" id="core">([\s\S]*?)<\/script>/.exec(html)[1];

const waiting = new Map();
globalThis.self = globalThis;
globalThis.postMessage = (message) => {
  if (!("progress" in message)) waiting.get(message.id)(message);
};
runInThisContext(source, { filename: "core.js" });

function revive(_, value) {
  if (value !== null && typeof value === "object") {
    if ("$bytes" in value) return new Uint8Array(Buffer.from(value.$bytes, "base64"));
    if ("$int" in value) return BigInt(value.$int);
    if ("$folder" in value) return filesOf(value.$folder);
  }
  return value;
}

function filesOf(folder) {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = found.map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return new Map(paths.map((path) => [relative(folder, path), new Blob([readFileSync(path)])]));
}

function plain(value) {
  if (typeof value === "bigint") return { $int: String(value) };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (value instanceof Float64Array) {
    return { $floats: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return { $map: [...value].map(plain) };
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  }
  return value;
}

let id = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { method, args } = JSON.parse(line, revive);
  const answer = await new Promise((resolve) => {
    waiting.set(++id, resolve);
    globalThis.onmessage({ data: { id, method, args } });
  });
  waiting.delete(id);
  process.stdout.write(JSON.stringify(plain(answer)) + "\n");
}
