// The page: landmarks once, and the main part anew whenever something has changed.

import { hex, unhex } from "../decoding/bytes.ts";
import { Client } from "./client.ts";
import { h, link } from "./dom.ts";
import { checkFiles, faultText, readFiles } from "./files.ts";
import * as memory from "./memory.ts";
import { mark } from "./parts.ts";
import { find } from "./search.ts";
import { type FileState, type Standing, standingOf, standingOfError, State } from "./state.ts";
import * as views from "./views.ts";

const VIEWS: Readonly<Record<string, views.View>> = { ...views, "": views.overview };
const MENU: readonly (readonly [string, string])[] = [
  ["", "Overview"], ["tasks", "Tasks"], ["participants", "Participants"], ["witnesses", "Witnesses"],
  ["faults", "Faults"], ["files", "Check files"], ["about", "About this page"],
];
const SAID: Readonly<Record<Standing, string>> = {
  passed: "All that this page checks is right, against your own pins.",
  failed: "Something is WRONG: look for what is red.",
  unknown: "Not everything could be checked: look for the question marks.",
  running: "Being checked …",
  waiting: "No ledger is open.",
};

const CONSISTENT = "Consistent in itself. Nothing of yours was compared: choose your trust file.";

// What a file is its content says, and not its name: what somebody else calls evidence may be a trust file, and whom the
// reader trusts is for nobody else to say.
const NOT_CHOSEN = "This trust file was NOT taken for yours, since it came as a file to be checked. If it is, choose it "
  + "where your trust file is asked for.";
const NOT_ONE = "This is NOT one trust file.";
const NOT_ONLY = "This trust file was NOT taken: another one is remembered as yours. If it is out of date, forget it first.";

const state = new State();
const client = new Client(document.getElementById("core")!.textContent!);
const address = new URL("./", location.href).href;

const status = h("p", { id: "status", role: "status", "aria-live": "polite" });
const main = h("main", { id: "main", tabindex: -1 });
const title = h("h1", {}, "Ledger");
const menu = h("ul", {});
const results = h("div", { id: "results", "aria-live": "polite" });
const search = h("input", {
  type: "search", id: "search", autocomplete: "off", spellcheck: "false",
  placeholder: "id, task, round or digest", input: () => showFound(),
});

document.body.append(
  h("a", { class: "skip", href: "#main", click: (event) => {
    event.preventDefault();
    main.focus();
  } }, "Skip to content"),
  h("header", {}, h("div", { class: "bar" }, title, status),
    h("form", { role: "search", submit: (event) => event.preventDefault() },
      h("label", { for: "search" }, "Search"), search, results),
    h("nav", { "aria-label": "Pages" }, menu)),
  main,
  h("footer", {}, h("p", {}, "Verified in this browser; nothing was sent anywhere. ",
    link("about", "What this page can't promise"))),
);

function showFound(): void {
  const found = search.value.trim() === "" ? null : find(state, search.value);
  results.replaceChildren(...(found === null ? [] : found.length === 0 ? [h("p", {}, "Nothing was found.")]
    : [h("ul", {}, ...found.map(([path, words]) => h("li", {}, link(path, words))))]));
}

let shownPath: string | null = null;

function show(): void {
  const path = location.hash.replace(/^#\/?/, "");
  const [name = "", ...rest] = path.split("/");
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : views.overview;
  const { standing } = state;
  const said = standing === "passed" && !state.opened?.own ? CONSISTENT : SAID[standing];
  // It is read aloud whenever it is written: only when it says something else.
  if (status.dataset.said !== said) status.replaceChildren(mark(standing), said);
  status.dataset.said = said;
  document.body.dataset.standing = standing;
  document.body.dataset.pins = state.opened?.own ? "own" : "none";
  const origin = state.opened?.checkpoint?.origin;
  // An origin is the log's own text, and may run from right to left: it changes nothing beside it.
  title.replaceChildren("Ledger", ...(origin ? [" ", h("bdi", {}, origin)] : []));
  document.title = `${said.replace(/[.:].*/, "")} – ${title.textContent}`;
  menu.replaceChildren(...MENU.map(([to, words]) => {
    const item = link(to, words);
    if (to === name) item.setAttribute("aria-current", "page");
    return h("li", {}, item);
  }));
  // What is drawn anew keeps its open parts, its place, its focus, and what was typed.
  const open = new Set([...main.querySelectorAll("details[open] > summary")].map((item) => item.textContent));
  const focused = [...main.querySelectorAll<HTMLElement>("a, button, input, summary, [tabindex]")];
  const typed = path === shownPath ? main.querySelector<HTMLInputElement>("#randomness")?.value : undefined;
  const at = path === shownPath ? focused.indexOf(document.activeElement as HTMLElement) : -1;
  main.replaceChildren(h("div", {}, ...flat(view(state, actions, rest))));
  for (const item of main.querySelectorAll("details > summary")) {
    if (open.has(item.textContent)) (item.parentElement as HTMLDetailsElement).open = true;
  }
  const again = main.querySelector<HTMLInputElement>("#randomness");
  if (typed && again) again.value = typed;
  if (at >= 0) [...main.querySelectorAll<HTMLElement>("a, button, input, summary, [tabindex]")][at]?.focus();
  if (shownPath !== null && path !== shownPath) {
    main.focus();
    window.scrollTo(0, 0);
  }
  shownPath = path;
  document.body.dataset.path = path; // what is drawn, which the address may be ahead of
}

function flat(children: ReturnType<views.View>): Node[] {
  return children.flatMap((child) => (child instanceof Node ? [child] : Array.isArray(child) ? flat(child) : []));
}

/** Show what has come of files. */
function tell(found: FileState[]): void {
  state.files = [...found, ...state.files];
  if (found.length > 0) location.hash = "#/files";
  state.changed();
}

const actions: views.Actions = {
  async files(files) {
    const dropped = await readFiles(client, files);
    const found = await checkFiles(client, state, dropped.filter((file) => file.kind !== "trust"), () => undefined);
    for (const { name } of dropped.filter((file) => file.kind === "trust")) {
      const text = state.trust === null ? NOT_CHOSEN : NOT_ONLY;
      found.push({ name, standing: "unknown", text, checks: [] });
    }
    tell(found);
  },
  async trust(files) {
    if (files.length === 0) return;
    const [{ name, data, kind }, ...more] = await readFiles(client, files);
    const text = new TextDecoder().decode(data);
    const refusal = kind !== "trust" || more.length > 0 ? NOT_ONE
      : state.trust !== null && state.trust !== text ? NOT_ONLY : "";
    if (refusal) {
      tell([{ name, standing: "unknown", text: refusal, checks: [] }]);
      return;
    }
    state.trust = text;
    memory.set("trust", text);
    if (state.opened !== null || state.error) await reopen();
    else tell([{ name, standing: "passed", text: "Your trust file is taken.", checks: [] }]);
  },
  async folder(files) {
    const paths = new Map<string, Blob>();
    for (const file of files) paths.set(file.webkitRelativePath.split("/").slice(1).join("/"), file);
    source = { files: paths };
    await reopen();
    location.hash = "#/";
  },
  async model(index, files) {
    const round = state.rounds.get(index)?.shown;
    const leaf = state.opened?.leaves[index];
    if (!round?.read || leaf?.kind !== "round" || !round.means) return;
    const read = await Promise.all(files.map(async (file) => new Uint8Array(await file.arrayBuffer())));
    const { config, means } = round;
    for (const [i, file] of files.entries()) {
      const name = `${file.name}, of round ${leaf.record.round}`;
      try {
        const found = await client.ask("model", {
          file: read[i], base: read[1 - i] ?? null, result_model: leaf.record.result_model,
          base_model: config.base_model, start_model: config.start_model, shapes: config.shapes, means,
          weight_sum: leaf.record.weight_sum, participants: leaf.record.participants,
          weight_limit: leaf.record.weight_limit, buffered: round.bases.length > 0,
        });
        const text = found.found.length ? `It is ${found.found.join("; and ")}.`
          : `It is no model of this round: its digest is ${found.digest}.`;
        state.files.unshift({ name, standing: found.found.length ? "passed" : "failed", text, checks: [] });
      } catch (error) {
        state.files.unshift({ name, standing: "failed", text: String((error as Error).message), checks: [] });
      }
    }
    location.hash = "#/files";
    state.changed();
  },
  async beacon(index, text) {
    const known = knownBeacon(text);
    if (index === null) state.beacon = known;
    else {
      if (known === null) state.beacons.delete(index);
      else state.beacons.set(index, known);
      await verifyRound(index);
    }
    state.changed();
  },
  forgetTrust() {
    state.trust = null;
    memory.set("trust", null);
    state.changed();
    void reopen();
  },
};

/** What a reader says has drawn something, in hexadecimal, with or without spaces; null where it is no such text. */
function knownBeacon(text: string): Uint8Array<ArrayBuffer> | null {
  const digits = text.replaceAll(/\s/g, "").toLowerCase();
  return /^([0-9a-f]{2}){1,64}$/.test(digits) ? unhex(digits) : null;
}

let source: { base: string } | { files: Map<string, Blob> } | null = null;
let run = 0; // so that what a former opening still finds is nothing of this one

async function reopen(): Promise<void> {
  if (source === null) return;
  const mine = ++run;
  Object.assign(state, { opened: null, error: "", offline: "", faults: [], rounds: new Map(), budgets: null });
  state.changed();
  try {
    const opened = await client.ask("open", { ...source, trust: state.trust, seen: memory.seen(address) }, (done, all) => {
      state.opening = [done, all];
      state.changed();
    });
    if (mine !== run) return;
    state.opened = opened;
    for (const leaf of opened.leaves) {
      if (leaf.kind === "round") {
        state.rounds.set(leaf.index, { standing: "waiting", done: 0, all: 0, shown: null, error: "" });
      }
    }
    state.faults = opened.site.faults.map((hash) => ({ hash, standing: "waiting", text: "a proof of fault" }));
    const { checkpoint, seenAs, log } = opened;
    if (standingOf(opened.checks) === "passed" && checkpoint && seenAs && log) {
      memory.remember(address, seenAs, hex(log), checkpoint.size, hex(checkpoint.root));
    }
    state.changed();
    await verifyAll(mine);
  } catch (error) {
    if (mine !== run) return;
    state.error = error instanceof Error ? error.message : String(error);
    state.errorStanding = standingOfError(error);
    state.changed();
  }
}

/** The newest round first; the one that is looked at before all. */
async function verifyAll(mine: number): Promise<void> {
  for (;;) {
    const waiting = [...state.rounds].filter(([, round]) => round.standing === "waiting").map(([index]) => index);
    if (mine !== run || waiting.length === 0) break;
    const looked = /^#\/record\/(\d+)$/.exec(location.hash)?.[1];
    await verifyRound(waiting.find((index) => String(index) === looked) ?? waiting[waiting.length - 1]);
  }
  const budgets = await client.ask("budgets", undefined);
  if (mine !== run) return;
  state.budgets = budgets;
  state.changed();
  for (const fault of state.faults) {
    if (mine !== run) return;
    try {
      const found = await client.ask("faultAt", { hash: fault.hash });
      fault.standing = "passed";
      fault.text = faultText(found, state.trust !== null);
    } catch (error) {
      fault.standing = standingOfError(error);
      fault.text = `It proves nothing: ${error instanceof Error ? error.message : String(error)}`;
    }
    state.changed();
  }
}

async function verifyRound(index: number): Promise<void> {
  const round = state.rounds.get(index)!;
  round.standing = "running";
  state.changed();
  try {
    const shown = await client.ask("round", { index, beacon: state.beacons.get(index) }, (done, all) => {
      Object.assign(round, { done, all });
      state.changed();
    });
    Object.assign(round, { shown, standing: standingOf(shown.checks) });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    Object.assign(round, { standing: standingOfError(error), error: text });
  }
  state.changed();
}

state.listen(show);
window.addEventListener("hashchange", show);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  void actions.files([...(event.dataTransfer?.files ?? [])]);
});

state.trust = memory.get("trust");
if (!window.isSecureContext || !crypto.subtle) {
  state.error = "This browser gives cryptography to secure pages only: open this page under https, at 127.0.0.1, or as "
    + "a file.";
} else if (location.protocol === "file:") {
  state.offline = "This page was opened as a file, and browsers let no such page read the files beside it.";
} else {
  source = { base: address };
}
show();
void reopen();
