// A published ledger (C2SP tlog-tiles), read from where it is served or from files that were dropped on the page.

import { type Bytes, equal, require } from "../decoding/bytes.ts";
import type { Tree } from "./tree.ts";

const WIDTH = 256;
const HEIGHT = 8;
const MAX_FILE = 2 ** 31;

/** The content at a path below the ledger's folder; null where there is none. */
export type Source = (path: string) => Promise<Bytes | null>;

export function served(base: string): Source {
  return async (path) => {
    const answer = await fetch(new URL(path, base), { redirect: "error", credentials: "omit", cache: "no-store" });
    if (answer.status === 404 || answer.status === 410) return null;
    require(answer.ok, `${path}: the server answers ${answer.status}`);
    const data = new Uint8Array(await answer.arrayBuffer());
    require(data.length <= MAX_FILE, `${path} is too long`);
    return data;
  };
}

export function dropped(files: ReadonlyMap<string, Blob>): Source {
  return async (path) => {
    const file = files.get(path);
    return file === undefined ? null : new Uint8Array(await file.arrayBuffer());
  };
}

/** The index of a tile as a path: groups of three digits, all but the last with an x before them. */
function tilePath(index: number): string {
  let out = String(index % 1000).padStart(3, "0");
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    out = `x${String(rest % 1000).padStart(3, "0")}/${out}`;
  }
  return out;
}

function partOf(width: number): string {
  return width === WIDTH ? "" : `.p/${width}`;
}

async function must(source: Source, path: string): Promise<Bytes> {
  const found = await source(path);
  require(found !== null, `${path} is missing`);
  return found;
}

/** A tile that grew since its checkpoint was read is there in full only: then more follows than is asked for. */
async function tile(source: Source, stem: string, width: number): Promise<{ data: Bytes; exact: boolean }> {
  const found = await source(stem + partOf(width));
  return found ? { data: found, exact: true } : { data: await must(source, stem), exact: width === WIDTH };
}

/** All records under a checkpoint of a size. */
export async function readEntries(
  source: Source,
  size: number,
  progress: (done: number, all: number) => void,
): Promise<Bytes[]> {
  const out: Bytes[] = [];
  for (let index = 0; index * WIDTH < size; index++) {
    const width = Math.min(WIDTH, size - index * WIDTH);
    const { data, exact } = await tile(source, `tile/entries/${tilePath(index)}`, width);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    let at = 0;
    for (let i = 0; i < width; i++) {
      require(at + 2 <= data.length, "a bundle of records is cut off");
      const end = at + 2 + view.getUint16(at);
      require(end <= data.length, "a bundle of records is cut off");
      out.push(data.slice(at + 2, end));
      at = end;
    }
    require(!exact || at === data.length, "something follows the records of a bundle");
    progress(out.length, size);
  }
  return out;
}

/** That every published tile of hashes is over the records. */
export async function checkTiles(source: Source, tree: Tree): Promise<number> {
  const size = tree.hashes.length;
  let count = 0;
  for (let level = 0; size >> (HEIGHT * level) > 0; level++) {
    const nodes = size >> (HEIGHT * level);
    for (let index = 0; index * WIDTH < nodes; index++) {
      const width = Math.min(WIDTH, nodes - index * WIDTH);
      const { data, exact } = await tile(source, `tile/${level}/${tilePath(index)}`, width);
      require(exact ? data.length === 32 * width : data.length >= 32 * width, "a tile of hashes has a wrong length");
      for (let i = 0; i < width; i++) {
        const made = tree.node(HEIGHT * level, index * WIDTH + i);
        const same = equal(data.slice(32 * i, 32 * (i + 1)), made);
        require(same, `hash ${index * WIDTH + i} of level ${level} is not over the records`);
        count++;
      }
    }
  }
  return count;
}

export function evidencePath(hash: string): string {
  return `evidence/${hash.slice(0, 2)}/${hash}.evidence`;
}
