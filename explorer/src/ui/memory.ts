// What this browser remembers: the reader's own trust file, and the newest head of each log. Where it can't, it says so.

import type { Seen } from "../ledger/ledger.ts";

const PREFIX = "secure-agg:";

function store(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null; // a browser that keeps nothing, or a page that may not ask
  }
}

export function remembers(): boolean {
  return store() !== null;
}

export function get(name: string): string | null {
  return store()?.getItem(PREFIX + name) ?? null;
}

export function set(name: string, value: string | null): void {
  if (value === null) store()?.removeItem(PREFIX + name);
  else store()?.setItem(PREFIX + name, value);
}

/** All heads that were seen, and the key of the log that was at this address. */
export function seen(address: string): Seen {
  const heads: Seen["heads"] = [];
  const kept = store();
  for (let i = 0; kept !== null && i < kept.length; i++) {
    const name = kept.key(i) ?? "";
    if (!name.startsWith(`${PREFIX}head:`)) continue;
    const [size, root] = (kept.getItem(name) ?? "").split(" ");
    if (/^[0-9]+$/.test(size) && /^[0-9a-f]{64}$/.test(root ?? "")) {
      heads.push([name.slice(PREFIX.length + 5), { size, root }]);
    }
  }
  return { heads, key: get(`at:${address}`) };
}

export function remember(address: string, name: string, log: string, size: bigint, root: string): void {
  set(`head:${name}`, `${size} ${root}`);
  set(`at:${address}`, log);
}
