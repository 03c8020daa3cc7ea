// Builds the page: one HTML file with its style, its script, and the worker's script as data, so that it works from a
// folder as well as from a server. The same sources make the same bytes.
//
//   node build.mjs [FILE]     by default ../secure_agg/explorer/page.html

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "..", "secure_agg", "explorer", "page.html");

/** Text that ends no script element early. */
function inert(script) {
  return script.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
}

async function bundle(entry) {
  const made = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "iife",
    legalComments: "none",
    target: "es2022",
    write: false,
  });
  return inert(made.outputFiles[0].text.trimEnd());
}

const [core, page] = [await bundle("src/core.ts"), await bundle("src/ui/main.ts")];
const style = readFileSync(join(here, "src", "ui", "page.css"), "utf8");
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = [
  "default-src 'none'",
  `script-src ${hash(page)}`,
  `style-src ${hash(style)}`,
  "img-src data:",
  "worker-src blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
// The two packages that are bundled have one licence and one author.
const licence = readFileSync(join(here, "node_modules", "@noble", "hashes", "LICENSE"), "utf8").trim();
const html = readFileSync(join(here, "src", "ui", "page.html"), "utf8")
  .replace("{{licence}}", () => licence)
  .replace("{{policy}}", () => policy)
  .replace("{{style}}", () => style)
  .replace("{{core}}", () => core)
  .replace("{{page}}", () => page);
writeFileSync(target, html);
