// The pages of the page: each takes the state and gives what is in the main landmark.

import { hex } from "../decoding/bytes.ts";
import type { Leaf } from "../ledger/leaves.ts";
import { groupsOf } from "../protocol/config/groups.ts";
import { isPrivate, option, step } from "../protocol/config/layout.ts";
import type { Base, GroupRecord, Policy, RoundRecord } from "../protocol/records.ts";
import { type Child, code, fields, h, link, table } from "./dom.ts";
import { above, bytes, checklist, drop, mark, number, section, time } from "./parts.ts";
import { roundPicture, treePicture } from "./pictures.ts";
import { type RoundState, standingOf as standingOfChecks, type State } from "./state.ts";

export interface Actions {
  files(files: File[]): void;
  trust(files: File[]): void;
  folder(files: File[]): void;
  model(index: number, files: File[]): void;
  forgetTrust(): void;
  /** What drew a round's cohort, or what is dropped, as the reader knows it. */
  beacon(index: number | null, text: string): void;
}

export type View = (state: State, actions: Actions, rest: readonly string[]) => Child[];

function leafLink(leaf: Leaf): Child {
  const what = leaf.kind === "round" ? `round ${leaf.record.round}` : `epoch ${leaf.record.epoch}`;
  return link(`record/${leaf.index}`, what);
}

function standingOf(state: State, leaf: Leaf): Child {
  if (leaf.kind === "epoch") {
    const own = state.opened?.epochs.find(([index]) => index === leaf.index)?.[1];
    const all = state.opened?.checks.find((check) => check.number === "epochs");
    return mark(own ? standingOfChecks(own) : all && all.state !== "passed" ? all.state : "skipped");
  }
  const round = state.rounds.get(leaf.index);
  return [mark(round?.standing ?? "waiting"), round?.standing === "running" && bar(round)];
}

function bar(round: RoundState): HTMLElement {
  const label = `${round.done} of ${round.all} blocks`;
  return h("progress", { max: Math.max(1, round.all), value: round.done, "aria-label": label });
}

function records(state: State, leaves: readonly Leaf[], caption: string): HTMLElement {
  const rows = [...leaves].reverse().map((leaf) => [
    leafLink(leaf),
    link(`task/${encodeURIComponent(leaf.record.task)}`, leaf.record.task),
    leaf.kind === "round" ? number(leaf.record.participants) : "",
    leaf.kind === "round" ? leaf.record.claim : "epoch",
    code(hex(leaf.digest)),
    standingOf(state, leaf),
  ]);
  return table(caption, ["record", "task", "participants", "claim", "digest", "checked here"], rows);
}

function pinsLine(state: State, actions: Actions): Child {
  const own = state.opened?.own ?? state.trust !== null;
  return own
    ? h("p", { class: "note good" }, "Everything is compared with the trust file that you chose. ",
      h("button", { type: "button", click: () => actions.forgetTrust() }, "Forget it"))
    : h("p", { class: "note warn" }, "Keys and rosters are those that the log itself publishes. That shows that all of "
      + "it fits together, and not who these parties are: for that, choose your own trust file. ",
      drop("Choose your trust file", (files) => actions.trust(files)));
}

export const overview: View = (state, actions) => {
  const { opened } = state;
  if (opened === null) return [waiting(state, actions)];
  const tasks = new Set(opened.leaves.map((leaf) => leaf.record.task));
  const rounds = opened.leaves.filter((leaf) => leaf.kind === "round").length;
  const passed = [...state.rounds.values()].filter((round) => round.standing === "passed").length;
  return [
    section("The log", pinsLine(state, actions),
      checklist("Checks of the log", [...opened.checks, ...(state.budgets?.checks ?? [])])),
    section("Rounds", h("p", {}, `${rounds} rounds and ${opened.leaves.length - rounds} epochs of ${tasks.size} tasks; `
      + `the evidence of ${passed} rounds has been verified in this browser.`), records(state, opened.leaves, "Records")),
    section("The tree", treePicture(opened.leaves.length, null),
      opened.checkpoint && fields([
        ["origin", opened.checkpoint.origin], ["size", number(opened.checkpoint.size)],
        ["root", bytes(opened.checkpoint.root)], ["key of the log", opened.log ? bytes(opened.log) : "unknown"],
      ])),
  ];
};

function waiting(state: State, actions: Actions): HTMLElement {
  if (state.error) {
    const forget = h("button", { type: "button", click: () => actions.forgetTrust() }, "Forget your trust file");
    return section("No ledger", h("p", { class: "note bad" }, state.error), state.trust !== null && forget, folder(actions));
  }
  if (state.offline) return section("No ledger is open", h("p", {}, state.offline), folder(actions));
  const [done, all] = state.opening;
  return section("Opening", h("p", {}, `${done} of ${all} records read`),
    h("progress", { max: Math.max(1, all), value: done, "aria-label": "records read" }));
}

function folder(actions: Actions): HTMLElement {
  return h("div", {}, h("p", {}, "Choose the folder of a published ledger, the one with the file ", code("checkpoint"),
    " in it. Nothing leaves this machine."), drop("Choose a folder", (files) => actions.folder(files), true));
}

export const tasks: View = (state) => {
  const leaves = state.opened?.leaves ?? [];
  const names = [...new Set(leaves.map((leaf) => leaf.record.task))];
  const rows = names.map((name) => {
    const own = leaves.filter((leaf) => leaf.record.task === name);
    const pinned = state.opened?.trust?.tasks.find(([task]) => task === name)?.[1];
    return [
      link(`task/${encodeURIComponent(name)}`, name), own.filter((leaf) => leaf.kind === "round").length,
      own.filter((leaf) => leaf.kind === "epoch").length, pinned?.roster.size ?? "not pinned",
      pinned?.policy.backend ?? "",
    ];
  });
  return [section("Tasks", table("Tasks", ["task", "rounds", "epochs", "members", "backend"], rows))];
};

function millionths(value: number): string {
  return String(value / 10 ** 6);
}

function budget(policy: Policy): string {
  if (!isPrivate(policy)) return "none is in this policy: sums are exact, without noise";
  const of = (name: string) => option(policy, name, 0);
  return `ε ${millionths(of("privacy_epsilon"))} at δ ${of("privacy_delta") / 10 ** 12} for the whole task; each `
    + `participant adds noise of its own, enough where ${of("privacy_honest")} of them do`;
}

/** What the record of a round with noise says of the budget. */
function spentOf({ spent, epsilon, delta }: RoundRecord): string {
  if (spent === undefined || epsilon === undefined || delta === undefined) return "no noise is in this result";
  return `ε ${millionths(spent)} of ${millionths(epsilon)} is spent with this round, at δ ${delta / 10 ** 12}`;
}

function groupsShown(groups: readonly GroupRecord[]): HTMLElement {
  const rows = groups.map((group) => [
    group.name, group.error_bound ? `less than ${above(group.error_bound)}` : "exact counts", number(group.error_rms),
    group.next_clips.length,
  ]);
  const header = ["group", "error of any value of the mean", "root of the mean square", "clips that follow"];
  return section("Groups", table("Groups", header, rows));
}

/** Which models the updates of a buffered round are differences from. */
function basesOf(shown: { bases: readonly Base[]; based: readonly (readonly [string, bigint])[] }): HTMLElement {
  const rows = [...shown.bases].reverse().map((base) => [
    number(base.number), shown.based.filter(([, of]) => of === base.number).map(([name]) => name).join(", ") || "nobody",
    bytes(base.model), bytes(base.record),
  ]);
  return section("Bases", h("p", {}, "Updates are differences from these models, each after so many results."),
    table("Bases", ["results before it", "updates from it", "model", "of the record"], rows));
}

/** A command, which is read in full and copied. */
function cmd(text: string): HTMLElement {
  return h("code", { class: "command" }, text);
}

const CLAIMS: Readonly<Record<string, string>> = {
  sum: "sum: what the evidence has to prove",
  "dp-sum": "dp-sum: a sum, which the evidence has to prove, of updates with noise in them",
  attested: "attested: the operators' word alone",
};

/** What is sent of each group, and how. */
function groupFields(policy: Policy): [string, Child][] {
  return groupsOf(policy).map(({ name, kind, bits, clip, weighted, rotated, support: [num, den], clip_rule }) => {
    const clipped = `clipped to ±${clip}${clip_rule === "adaptive" ? " at first, then as clients fit" : ""}`;
    const said = [
      `${bits} bits each`, kind === "count" ? "exact counts" : clipped, weighted ? "weighted" : "every client alike",
      rotated && "rotated", num < den && `${num} of ${den} values are sent`,
    ];
    return [`group ${name}`, said.filter(Boolean).join(", ")];
  });
}

function policyFields(policy: Policy): HTMLElement {
  const options = policy.options.filter(({ value }) => typeof value === "bigint")
    .map((option) => `${option.name} = ${option.value}`).join(", ");
  const weights = policy.weight_scale
    ? `up to ${number(policy.max_weight)}, limited to ${policy.weight_scale} times the last round's mean`
    : `up to ${number(policy.max_weight)}`;
  const bound = policy.options.find((option) => option.name === "norm_steps");
  return fields([
    ["backend", policy.backend], ["options, as they are signed", options || "none"],
    ...(groupsOf(policy).length ? groupFields(policy)
      : [["values", `clipped to ±${policy.clip}, ${policy.bits} bits each`] as const]),
    ["weights", weights],
    ["rounding", `rounds are refused whose mean it could move by more than ${policy.max_error}`],
    ["norm bound", bound ? `${bound.value} steps of ${step(policy)}` : "none"],
    ["clients", `${policy.min_advertised} to ${policy.max_clients}, at least ${policy.min_clients} in a sum`],
    ["corrupt clients tolerated", number(policy.max_corrupt)],
    ["cohort", policy.cohort_size ? `${policy.cohort_size} drawn for each round` : "everybody"],
    ["privacy budget", budget(policy)],
  ]);
}

export const task: View = (state, _, [encoded = ""]) => {
  const name = decodeURIComponent(encoded);
  const leaves = (state.opened?.leaves ?? []).filter((leaf) => leaf.record.task === name);
  if (leaves.length === 0) return [section("Task", h("p", {}, `There is no task ${name} here.`))];
  const pinned = state.opened?.trust?.tasks.find(([known]) => known === name)?.[1];
  return [
    section(`Task ${name}`, pinned ? policyFields(pinned.policy) : h("p", {}, state.opened?.trust?.unread.get(name) ?? "It is not pinned.")),
    section("Rounds and epochs", records(state, leaves, "Records of this task")),
    pinned && section("Members", members(state, name, pinned.roster)),
  ];
};

/** Members of a task with the rounds, of those verified here, that they are in the sum of. */
function members(state: State, name: string, roster: ReadonlyMap<string, Uint8Array>): HTMLElement {
  const counts = new Map<string, number>();
  let rounds = 0;
  for (const [index, { shown }] of state.rounds) {
    if (state.opened?.leaves[index].record.task !== name || !shown?.read) continue;
    rounds++;
    for (const participant of shown.participants) counts.set(participant, (counts.get(participant) ?? 0) + 1);
  }
  const budget = state.budgets?.budgets.find((item) => item.task === name);
  const spent = new Map(budget?.clients);
  const rows = [...roster].map(([member, key]) => [
    member, `${counts.get(member) ?? 0} of ${rounds}`,
    ...(budget ? [`ε ${millionths(spent.get(member) ?? 0)} of ${millionths(budget.epsilon)}`] : []), bytes(key),
  ]);
  const more = budget ? ["spent of its privacy, at least"] : [];
  const header = ["id", "in the sum of verified rounds", ...more, "identity key"];
  return table("Members", header, rows);
}

export const participants: View = (state) => {
  const pinned = state.opened?.trust?.tasks ?? [];
  const sections = pinned.map(([name, task]) => section(`Task ${name}`, members(state, name, task.roster)));
  const operators = (state.opened?.trust?.operators ?? []).map(([name, key]) => [name, bytes(key)]);
  return [...sections, section("Operators", table("Operators", ["id", "identity key"], operators))];
};

export const record: View = (state, actions, [place = ""]) => {
  const leaf = state.opened?.leaves[Number(place)];
  if (leaf === undefined) return [section("Record", h("p", {}, "There is no such record here."))];
  return leaf.kind === "round" ? round(state, actions, leaf) : epoch(state, leaf);
};

function round(state: State, actions: Actions, leaf: Leaf & { kind: "round" }): Child[] {
  const { record: said, index } = leaf;
  const found = state.rounds.get(index);
  const shown = found?.shown?.read ? found.shown : null;
  const bound = said.norm_bound === undefined ? "none"
    : `${said.norm_bound}; corrupt participants together at most ${Number(said.norm_factor) / 100} times as much each`;
  return [
    section(`Round ${said.round} of task ${said.task}`,
      found && found.standing === "running" ? h("p", {}, "Being verified ", bar(found)) : null,
      found?.error ? h("p", { class: "note bad" }, found.error) : null,
      found?.shown ? checklist("Checks of this round", found.shown.checks) : h("p", {}, "Not verified yet."),
      (isDrawn(found) || state.beacons.has(index))
        && randomness(state.beacons.get(index), (text) => actions.beacon(index, text))),
    shown && section("Who took part", roundPicture(shown),
      h("details", {}, h("summary", {}, `${shown.participants.length} participants by name`),
        h("ul", { class: "names" }, ...shown.participants.map((name) => h("li", {}, name))))),
    shown?.edges && section("Edges", table("Edges", ["edge", "participants", "members", "record's evidence"],
      shown.edges.map((edge) => [edge.task, number(edge.participants), number(edge.cohort_size), bytes(edge.evidence)]))),
    shown && shown.bases.length > 0 && basesOf(shown),
    said.groups !== undefined && groupsShown(said.groups),
    section("What the record says", fields([
      ["claim", CLAIMS[said.claim] ?? said.claim],
      ["participants", `${number(said.participants)} of ${number(said.cohort_size)}`],
      ["weights", `${number(said.weight_sum)} in all, each at most ${number(said.weight_limit)}; `
        + `${said.weights_lowered} lowered, ${said.weights_raised} raised`],
      ["error of any value of the mean", `less than ${above(said.error_bound)}${said.spent === undefined ? "" : ", the noise apart"}`],
      ["privacy", spentOf(said)], ["norm bound", bound],
      ["attempt", number(said.attempt)], ["started from", bytes(said.start_model)], ["result", bytes(said.result_model)],
      ["record", bytes(leaf.digest)], ["previous record", bytes(said.previous_record)],
      ["evidence", bytes(said.evidence)], ["configuration", bytes(said.context)], ["session", bytes(said.session)],
    ])),
    section("Is this the model of that round?",
      h("p", {}, "Drop a model (.npy or .npz): the mean, what updates were relative to, or both with the model that "
        + "follows. It is read here, and goes nowhere."),
      drop("Choose model files", (files) => actions.model(index, files))),
    section("In the tree", treePicture(state.opened!.leaves.length, index)),
    shown && section("Policy", policyFields(shown.config.policy)),
  ];
}

/** Whether it is not known here what drew who took part. */
function isDrawn(found: RoundState | undefined): boolean {
  return found?.shown?.checks.some((check) => check.number === "1" && check.state === "unknown") ?? false;
}

/** Where the reader says what has drawn a cohort, or a tree's edges. */
function randomness(known: Uint8Array | null | undefined, said: (text: string) => void): HTMLElement {
  const input = h("input", { type: "text", id: "randomness", autocomplete: "off", spellcheck: "false",
    value: known ? hex(known) : "" });
  return h("form", { class: "known", submit: (event) => {
    event.preventDefault();
    said(input.value);
  } }, h("label", { for: "randomness" }, "What drew it, as you know it, in hexadecimal"), input,
  h("button", { type: "submit" }, "Compare"));
}

function epoch(state: State, leaf: Leaf & { kind: "epoch" }): Child[] {
  const { record: said } = leaf;
  const all = state.opened?.checks.find((check) => check.number === "epochs");
  const own = state.opened?.epochs.find(([index]) => index === leaf.index)?.[1];
  return [
    section(`Epoch ${said.epoch} of task ${said.task}`,
      own ? checklist("Checks of this epoch", own) : all && checklist("Check of all epochs", [all]),
      !own && all?.state === "passed" && h("p", {}, "Your trust file pins a later epoch: this one was not checked.")),
    section("What the record says", fields([
      ["rounds before it", number(said.rounds)], ["generation", number(said.generation)],
      ["follows the epoch", bytes(said.previous_epoch)], ["body", bytes(said.body)],
      ["starts from", bytes(said.start_model)], ["base model", bytes(said.base_model)],
      ["evidence", bytes(said.evidence)], ["record", bytes(leaf.digest)],
    ])),
    section("In the tree", treePicture(state.opened!.leaves.length, leaf.index)),
  ];
}

export const witnesses: View = (state) => {
  const checkpoint = state.opened?.checkpoint;
  const trust = state.opened?.trust;
  const cosigned = new Map(checkpoint?.cosigned ?? []);
  const rows = (trust?.witnesses ?? []).map(([name, key]) => {
    const seconds = cosigned.get(name);
    return [name, seconds === undefined ? "has not cosigned" : time(seconds), bytes(key)];
  });
  const needed = trust?.quorum == null ? "no quorum is pinned" : `${trust.quorum} have to have cosigned`;
  return [section("Witnesses", h("p", {}, `Who has seen this very tree, and when by their own clocks; ${needed}.`),
    rows.length ? table("Witnesses", ["id", "cosigned the checkpoint at", "key"], rows) : h("p", {}, "None is pinned."))];
};

export const faults: View = (state) => [
  section("Proofs of fault", h("p", {}, "Each shows that a key has signed what no honest party signs. Whose key it is, "
    + "your pins say."),
  state.faults.length === 0 ? h("p", {}, "None is published here.")
    : h("ol", { class: "checks" }, ...state.faults.map((fault) => h("li", { class: fault.standing },
      mark(fault.standing), h("span", { class: "title" }, fault.text), h("span", { class: "detail" }, fault.hash))))),
];

export const files: View = (state, actions) => [
  section("Check files", pinsLine(state, actions),
    h("p", {}, "Evidence, norm proofs, edges, receipts, epochs to follow, proofs of fault or of two histories. Drop what "
      + "belongs together at once. All of it is checked here, offline."),
    drop("Choose files, or drop them anywhere on this page", (chosen) => actions.files(chosen)),
    h("details", {}, h("summary", {}, "Cohorts that were drawn"),
      h("p", {}, "Where your trust file pins no beacon: what drew the cohort of the evidence that you drop next."),
      randomness(state.beacon, (text) => actions.beacon(null, text)))),
  ...state.files.map((file) => section(file.name,
    h("p", { class: `note ${file.standing === "passed" ? "good" : file.standing === "failed" ? "bad" : "warn"}` },
      mark(file.standing), file.text),
    file.checks.length > 0 && checklist(`Checks of ${file.name}`, file.checks))),
  section("A ledger in a folder", folder(actions)),
];

export const about: View = () => [
  section("What this page promises, and what it can't",
    h("p", {}, "It recomputes everything in your browser, from the published files: the signatures, the tree, who took "
      + "part, and that each result is the exact sum of what the participants committed to. It sends nothing anywhere, "
      + "and loads nothing from any other host."),
    h("p", {}, h("strong", {}, "A page that the log itself serves can be any page. "), "Whoever can write the ledger can "
      + "write a page that shows green. Before you rely on it, compare its bytes with the package's, or open the "
      + "package's own:"),
    h("pre", { tabindex: 0 }, "secure-agg explore --digest\nsha256sum index.html\nsecure-agg explore DIRECTORY"),
    h("p", {}, "What is green does not say that the participants' data or training was honest: they may commit to "
      + "anything that is in range. Without your own trust file it does not say who they are, either. A log that nobody "
      + "witnesses can show you another history than others; this browser remembers the newest head that it has seen, "
      + "and refuses what does not begin with it."),
    h("p", {}, "What this page does not know, such as a new kind of option, is shown as unknown, and never as good.")),
  section("What is not checked here, and what checks it", table("Not checked here", ["what", "why", "what checks it"], [
    ["anchors on a chain", "this page may ask no other host",
      cmd("secure-agg verify FILE.evidence --trust TRUST.json --chain URL --contract ADDRESS")],
    ["ciphertexts of bfv, ckks and paillier", "they are in no evidence",
      ["each key holder, before it opens a sum: ", cmd("secure-agg keyholder serve")]],
    ["keys of bfv and ckks", "browsers don't expand their compression", "each client, before it encrypts"],
    ["the instructions that clients were given", "evidence has their digest alone", "each client, before it signs"],
    ["how noise was drawn", "nobody sees it", "nobody: the budget counts on enough who draw it honestly"],
    ["other formats of models, and optimisers", "this page reads .npy and .npz",
      cmd("secure-agg verify FILE.evidence --trust TRUST.json --model MODEL")],
    ["all of the ledger once more, without a browser", "a second opinion", cmd("secure-agg ledger audit --from URL --trust TRUST.json")],
  ])),
];
