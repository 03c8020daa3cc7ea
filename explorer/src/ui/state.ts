// What the page knows, and who is told when that changes.

import type { Check } from "../protocol/report.ts";
import type { Bytes } from "../decoding/bytes.ts";
import { Refusal, type Result } from "./client.ts";

export type Opened = Result<"open">;
export type RoundShown = Result<"round">;

export type Standing = "waiting" | "running" | "passed" | "failed" | "unknown";

export interface RoundState {
  standing: Standing;
  done: number;
  all: number;
  shown: RoundShown | null;
  error: string;
}

export interface FaultState {
  hash: string;
  standing: Standing;
  text: string;
}

export interface FileState {
  name: string;
  standing: Standing;
  text: string;
  checks: readonly Check[];
}

export class State {
  opened: Opened | null = null;
  error = "";
  errorStanding: Standing = "failed";
  opening: [number, number] = [0, 0];
  /** Why there is no ledger to open, if there is none: the page is used for files only. */
  offline = "";
  trust: string | null = null;
  rounds = new Map<number, RoundState>();
  faults: FaultState[] = [];
  /** What rounds with noise have spent, once all were verified. */
  budgets: Result<"budgets"> | null = null;
  /** What drew the cohort of a round, by its index, as the reader knows it; and of what is dropped. */
  beacons = new Map<number, Bytes>();
  beacon: Bytes | null = null;
  files: FileState[] = [];
  #listeners: (() => void)[] = [];
  #told = false;

  listen(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Tell once, however often it is called before the next frame. */
  changed(): void {
    if (this.#told) return;
    this.#told = true;
    setTimeout(() => {
      this.#told = false;
      for (const listener of this.#listeners) listener();
    }, 16);
  }

  /** Of everything together: red where anything is, and green only where all that can be checked was. */
  get standing(): Standing {
    if (this.error) return this.errorStanding;
    if (this.opened === null) return this.offline ? "waiting" : "running";
    const checks = [...this.opened.checks, ...(this.budgets?.checks ?? [])].map((check) => check.state);
    const all = [...[...this.rounds.values()].map((round) => round.standing), ...this.faults.map((f) => f.standing)];
    if (checks.includes("failed") || all.includes("failed")) return "failed";
    if (checks.includes("unknown") || all.includes("unknown")) return "unknown";
    if (this.budgets === null || all.includes("running") || all.includes("waiting")) return "running";
    return "passed";
  }
}

/** Of what could not be done: nothing is wrong where this page has no check for it. */
export function standingOfError(error: unknown): Standing {
  return error instanceof Refusal && error.unknown ? "unknown" : "failed";
}

export function standingOf(checks: readonly Check[]): Standing {
  const states = checks.map((check) => check.state);
  return states.includes("failed") ? "failed" : states.includes("unknown") ? "unknown" : "passed";
}
