// Files that were dropped: each checked for what its content says that it is.

import { hex } from "../decoding/bytes.ts";
import type { Client, Result } from "./client.ts";
import { type FileState, standingOf, standingOfError, type State } from "./state.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Dropped {
  name: string;
  data: Bytes;
  kind: string;
}

export async function readFiles(client: Client, files: readonly File[]): Promise<Dropped[]> {
  return Promise.all(files.map(async (file) => {
    const data = new Uint8Array(await file.arrayBuffer());
    const kind = await client.ask("sniff", { data: data.slice(0, 64).length < 64 ? data : data.slice(0, 4096) });
    return { name: file.name, data, kind };
  }));
}

function failed(name: string, text: string): FileState {
  return { name, standing: "failed", text, checks: [] };
}

async function attempt(name: string, run: () => Promise<FileState>): Promise<FileState> {
  try {
    return await run();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { ...failed(name, text), standing: standingOfError(error) };
  }
}

/** Check what was dropped together; trust files are none of these. */
export async function checkFiles(
  client: Client, state: State, dropped: readonly Dropped[], progress: (done: number, all: number) => void,
): Promise<FileState[]> {
  const { trust } = state;
  const of = (...kinds: string[]): Dropped[] => dropped.filter((file) => kinds.includes(file.kind));
  const out: FileState[] = [];
  const proved: Result<"evidence">[] = [];
  const trees = of("tree");
  const tops = trees.length ? trees : of("evidence");
  const beside = [...of("unknown"), ...(trees.length ? of("evidence") : [])].map((file) => file.data);
  for (const file of tops) {
    out.push(await attempt(file.name, async () => {
      const args = { evidence: file.data, trust, beside, beacon: state.beacon };
      const found = await client.ask("evidence", args, progress);
      proved.push(found);
      const standing = standingOf(found.checks);
      const said = standing === "unknown" ? UNKNOWN
        : trust ? "verified against your trust file." : "consistent in itself; nothing of yours was compared.";
      const nothing = standing === "unknown" ? `This evidence was ${UNKNOWN}` : "This evidence proves nothing.";
      const text = found.read ? `Evidence of round ${found.config.round} of task ${found.config.task}: ${said}` : nothing;
      return { name: file.name, standing, text, checks: found.checks };
    }));
  }
  for (const file of of("fault")) {
    out.push(await attempt(file.name, async () => {
      const found = await client.ask("fault", { proof: file.data, trust });
      const text = `Proof of fault ${faultText(found, trust !== null)}.`;
      return { name: file.name, standing: "passed", text, checks: [] };
    }));
  }
  for (const file of of("steps")) {
    out.push(await attempt(file.name, async () => {
      if (trust === null) return { name: file.name, standing: "unknown", text: NO_PINS, checks: [] };
      const found = await client.ask("steps", { steps: file.data, trust });
      const text = `Task ${found.task} has come to epoch ${found.epoch}, whose digest is ${found.digest}: each epoch was `
        + `authorised, accepted and closed under the one before, in the log ${found.origin}, of ${found.size} records.`;
      return { name: file.name, standing: "passed", text, checks: [] };
    }));
  }
  for (const file of of("receipt")) out.push(await attempt(file.name, () => checkReceipt(client, state, file, proved)));
  for (const file of of("fork")) {
    out.push(await attempt(file.name, async () => {
      const log = state.opened?.log;
      if (!log) return { name: file.name, standing: "unknown", text: "Open the log, or a trust file, first.", checks: [] };
      const found = await client.ask("fork", { proof: file.data, log });
      const text = `The log ${found.origin} has signed two histories, of sizes ${found.sizes.join(" and ")}.`;
      return { name: file.name, standing: "passed", text, checks: [] };
    }));
  }
  const strangers = tops.length === 0 ? of("unknown", "record") : of("record");
  for (const file of strangers) out.push({ name: file.name, standing: "unknown", text: NO_KIND, checks: [] });
  return out;
}

/** Whom a proof of fault accuses: a key, unless it is pinned whose that is; `own` where the reader has pinned it. */
export function faultText(found: Result<"fault">, own: boolean): string {
  const who = found.pinned ? found.culprit : `the key ${hex(found.public)}, named ${found.culprit} here,`;
  return `${found.kind}: ${who} has broken the protocol in task ${found.task}`
    + (found.round === null ? "" : `, round ${found.round}`)
    + (found.pinned && !own ? "; whose key it is, only the log itself says" : "");
}

const UNKNOWN = "not checked in full: look for the question marks.";
const NO_PINS = "Epochs are followed from what your trust file pins: choose it first.";
const NO_KIND = "This page does not know what this file is: it was not checked.";

async function checkReceipt(
  client: Client, state: State, file: Dropped, proved: readonly Result<"evidence">[],
): Promise<FileState> {
  const candidates: Bytes[] = [];
  for (const found of proved) if (found.good && found.read && found.encoding) candidates.push(found.encoding);
  candidates.push(...(state.opened?.leaves ?? []).map((leaf) => leaf.data));
  if (candidates.length === 0) {
    return { name: file.name, standing: "unknown", text: "Drop it with the evidence that it is for.", checks: [] };
  }
  let why = "";
  for (const record of candidates) {
    try {
      const args = { receipt: file.data, record, trust: state.trust ?? undefined, log: state.opened?.log ?? undefined };
      const found = await client.ask("receipt", args);
      const text = `The log ${found.origin} has signed a tree of ${found.size} records with this one at ${found.index}`
        + (state.trust === null ? ", by the key that it publishes itself" : "")
        + (found.cosigned.length ? `, cosigned by ${found.cosigned.map(([name]) => name).join(", ")}.` : ".")
        + (found.compared === null ? "" : found.compared ? " The tree that is open here begins with that one."
          : " That is more than is published here, so that the two could not be compared.");
      return { name: file.name, standing: "passed", text, checks: [] };
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
  }
  return failed(file.name, why);
}
