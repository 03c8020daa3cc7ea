// Search by id and digest, in what is open.

import { hex } from "../decoding/bytes.ts";
import type { State } from "./state.ts";

const MOST = 20;

/** Paths and words of what a text is found in: parts of ids, beginnings of digests and keys. */
export function find(state: State, wanted: string): [string, string][] {
  const text = wanted.trim().toLowerCase();
  const out: [string, string][] = [];
  const add = (path: string, words: string): void => {
    const known = out.some(([to, said]) => to === path && said === words);
    if (out.length < MOST && !known) out.push([path, words]);
  };
  const digest = /^[0-9a-f]{4,64}$/.test(text) ? text : null;
  const { opened } = state;
  if (opened === null) return [];
  for (const leaf of opened.leaves) {
    const { task } = leaf.record;
    if (task.toLowerCase().includes(text)) add(`task/${encodeURIComponent(task)}`, `task ${task}`);
    const name = leaf.kind === "round" ? `round ${leaf.record.round}` : `epoch ${leaf.record.epoch}`;
    const fields = Object.entries(leaf.record).filter(([, value]) => value instanceof Uint8Array && value.length === 32);
    const hit = fields.find(([, value]) => digest && hex(value as Uint8Array).startsWith(digest))?.[0];
    if (name === text || String(leaf.index) === text) add(`record/${leaf.index}`, `${name} of task ${task}`);
    else if (digest && hex(leaf.digest).startsWith(digest)) add(`record/${leaf.index}`, `record of ${name}, ${task}`);
    else if (hit) add(`record/${leaf.index}`, `${hit.replaceAll("_", " ")} of ${name}, ${task}`);
    const shown = state.rounds.get(leaf.index)?.shown;
    if (shown?.read && shown.participants.some((participant) => participant.toLowerCase() === text)) {
      add(`record/${leaf.index}`, `${text} took part in ${name} of task ${task}`);
    }
  }
  const parties: (readonly [string, readonly (readonly [string, Uint8Array])[], string])[] = [
    ...(opened.trust?.tasks ?? []).map(([name, pins]) =>
      [`task/${encodeURIComponent(name)}`, [...pins.roster], `member of task ${name}`] as const),
    ["participants", opened.trust?.operators ?? [], "operator"],
    ["witnesses", opened.trust?.witnesses ?? [], "witness"],
  ];
  for (const [path, members, what] of parties) {
    for (const [id, key] of members) {
      if (id.toLowerCase().includes(text) || (digest && hex(key).startsWith(digest))) add(path, `${id}: ${what}`);
    }
  }
  for (const fault of state.faults) {
    if (fault.text.toLowerCase().includes(text) || (digest && fault.hash.startsWith(digest))) add("faults", fault.text);
  }
  return out;
}
