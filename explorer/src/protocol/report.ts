// What was checked, and what was not: the list that the page shows, in the order of the specification.

import { Refused, Unknown } from "../decoding/bytes.ts";

export type State = "passed" | "failed" | "skipped" | "unknown";

export interface Check {
  number: string;
  title: string;
  state: State;
  detail: string;
}

/** A number of things, in words. */
export function counted(count: number | bigint, one: string, many = `${one}s`): string {
  return `${count} ${BigInt(count) === 1n ? one : many}`;
}

/** Whether nothing is wrong, and nothing is unknown. */
export function isGood(checks: readonly Check[]): boolean {
  return checks.every((check) => check.state === "passed" || check.state === "skipped");
}

/** Thrown after a check has failed and is in the report. */
export class Stopped extends Error {}

export class Report {
  readonly checks: Check[] = [];
  #planned: [string, string][];

  /** `planned` are numbers and titles of all checks, so that those that were not reached are shown too. */
  constructor(planned: readonly (readonly [string, string])[]) {
    this.#planned = planned.map(([number, title]) => [number, title]);
  }

  /** A check that not every report has, before those that were not reached yet. */
  plan(number: string, title: string): void {
    this.#planned.unshift([number, title]);
  }

  #take(number: string): string {
    const index = this.#planned.findIndex(([planned]) => planned === number);
    return this.#planned.splice(index, 1)[0][1];
  }

  #add(number: string, state: State, detail: string): void {
    this.checks.push({ number, title: this.#take(number), state, detail });
  }

  /** Do a check; what it returns is its value, or its value and a sentence about it. */
  async check<T>(number: string, run: (say: (detail: string) => void) => Promise<T> | T): Promise<T> {
    let detail = "";
    try {
      const value = await run((text) => (detail = text));
      this.#add(number, "passed", detail);
      return value;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#add(number, error instanceof Unknown ? "unknown" : "failed", error.message);
      throw new Stopped(error.message);
    }
  }

  /** A check that nothing else rests on: where it can't be made the others go on, and all of it stays unknown. */
  async compare(number: string, run: (say: (detail: string) => void) => Promise<void> | void): Promise<void> {
    try {
      await this.check(number, run);
    } catch (error) {
      if (!(error instanceof Stopped) || this.checks[this.checks.length - 1].state !== "unknown") throw error;
    }
  }

  /** Refuse, in a report above this one, what this one has stopped at. */
  stop(what: string): never {
    const words = `${what}: ${this.failure}`;
    throw this.checks.some((check) => check.state === "failed") ? new Refused(words) : new Unknown(words);
  }

  /** For a caller that refuses as one what a report of parts has stopped at. */
  async whole<T>(run: () => Promise<T>): Promise<T> {
    try {
      const value = await run();
      if (this.failure) throw new Unknown(this.failure);
      return value;
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      if (this.checks.some((check) => check.state === "failed")) throw new Refused(this.failure);
      throw new Unknown(this.failure);
    }
  }

  skip(number: string, why: string): void {
    this.#add(number, "skipped", why);
  }

  /** What this page checks of nothing, and who does. */
  leave(number: string, title: string, why: string): void {
    this.checks.push({ number, title, state: "skipped", detail: why });
  }

  /** Whatever has not been reached was not checked. */
  close(): readonly Check[] {
    for (const [number] of [...this.#planned]) this.skip(number, "not reached: a check before it failed");
    return this.checks;
  }

  get failure(): string {
    const found = this.checks.find((check) => check.state === "failed" || check.state === "unknown");
    return found ? `${found.title}: ${found.detail}` : "";
  }
}
