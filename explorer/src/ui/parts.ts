// Parts that several views have.

import { hex } from "../decoding/bytes.ts";
import type { Check, State as CheckState } from "../protocol/report.ts";
import { type Child, code, h } from "./dom.ts";
import type { Standing } from "./state.ts";

const MARKS: Readonly<Record<Standing | CheckState, readonly [string, string]>> = {
  passed: ["✓", "checked"],
  failed: ["✗", "failed"],
  unknown: ["?", "unknown to this page, and not checked"],
  skipped: ["–", "not checked"],
  waiting: ["…", "waiting"],
  running: ["…", "being checked"],
};

/** A sign that has its words for those who don't see it, and a shape for those who don't see its colour. */
export function mark(state: Standing | CheckState): HTMLElement {
  const [sign, words] = MARKS[state];
  return h("span", { class: `mark ${state}`, "data-state": state, title: words },
    h("span", { "aria-hidden": "true" }, sign), h("span", { class: "hidden" }, `${words}: `));
}

/** What was checked and what was not, numbered. */
export function checklist(label: string, checks: readonly Check[]): HTMLElement {
  return h("ol", { class: "checks", "aria-label": label }, ...checks.map((check) =>
    h("li", { class: check.state, "data-check": check.number },
      mark(check.state), h("span", { class: "title" }, check.title),
      check.detail && h("span", { class: "detail" }, check.detail))));
}

export function bytes(data: Uint8Array): HTMLElement {
  return data.every((byte) => byte === 0) ? h("span", { class: "quiet" }, "none") : code(hex(data));
}

export function number(value: number | bigint): string {
  return value.toLocaleString("en");
}

/** A bound in three digits, which are not below it. */
export function above(bound: number): string {
  const near = Number(bound.toPrecision(3));
  return String(near < bound ? Number((bound * 1.01).toPrecision(3)) : near);
}

export function time(seconds: bigint): string {
  return new Date(Number(seconds) * 1000).toISOString().replace("T", " ").replace(".000Z", " UTC");
}

/** A choice of files, which dropping works on as well. */
export function drop(label: string, chosen: (files: File[]) => void, folder = false): HTMLElement {
  const input = h("input", { type: "file", multiple: true, ...(folder ? { webkitdirectory: true } : {}), change: () => {
    chosen([...(input.files ?? [])]);
    input.value = "";
  } });
  return h("label", { class: "drop" }, h("span", {}, label), input);
}

export function section(title: string, ...children: Child[]): HTMLElement {
  return h("section", {}, h("h2", {}, title), ...children);
}
