// The worker's script of the built page, asked by lines of JSON: {"method", "args"} in, {"result"} or {"error"} out.
// What is no JSON is spelled as in spelling.js, and the files of a folder as {"$folder": path}.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { runInThisContext } from "node:vm";

const html = readFileSync(process.argv[2], "utf8");
const source = /<script type="text\/plain" id="core">([\s\S]*?)<\/script>/.exec(html)[1];
const spelling = join(dirname(fileURLToPath(import.meta.url)), "spelling.js");

const waiting = new Map();
globalThis.self = globalThis;
globalThis.postMessage = (message) => {
  if (!("progress" in message)) waiting.get(message.id)(message);
};
globalThis.Buffer = Buffer;
runInThisContext(readFileSync(spelling, "utf8"), { filename: spelling });
runInThisContext(source, { filename: "core.js" });
const { plain, revive } = globalThis.spelling;

function filesOf(folder) {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = found.map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return new Map(paths.map((path) => [relative(folder, path), new Blob([readFileSync(path)])]));
}

function given(name, value) {
  return value !== null && typeof value === "object" && "$folder" in value ? filesOf(value.$folder) : revive(name, value);
}

let id = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { method, args } = JSON.parse(line, given);
  const answer = await new Promise((resolve) => {
    waiting.set(++id, resolve);
    globalThis.onmessage({ data: { id, method, args } });
  });
  waiting.delete(id);
  process.stdout.write(JSON.stringify(plain(answer)) + "\n");
}
