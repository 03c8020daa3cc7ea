// What rounds have spent together of each participant's privacy budget: docs/specification.md, section 23, *Clients*.

import { require } from "../decoding/bytes.ts";
import { isPrivate, option } from "../protocol/config/layout.ts";
import { rootTask } from "../protocol/epochs.ts";
import { spending } from "../protocol/kinds/privacy.ts";
import type { Policy } from "../protocol/records.ts";
import { type Check, counted, Report, Stopped } from "../protocol/report.ts";

interface Spent {
  task: string;
  policy: Policy;
  participants: string[];
}

/** Of one task: how many rounds there are, its budget, and what each of its participants has spent of it. */
export interface Budget {
  task: string;
  rounds: number;
  epsilon: number;
  delta: number;
  clients: [string, number][];
}

const CHECKS = [["budgets", "No participant's rounds together have spent more than its privacy budget"]] as const;

/** Rounds that were verified, in whatever order. */
export class Spending {
  #rounds = new Map<number, Spent>();

  add(index: number, task: string, policy: Policy, participants: Iterable<string>): void {
    if (isPrivate(policy)) this.#rounds.set(index, { task: rootTask(task), policy, participants: [...participants] });
  }

  /** It is a lower bound: sets that were signed, and of which no record tells, count for a client too. */
  async all(): Promise<{ checks: readonly Check[]; budgets: Budget[] }> {
    const counts = new Map<string, Map<string, Map<bigint, bigint>>>();
    const budgets = new Map<string, Budget>();
    const report = new Report(CHECKS);
    try {
      if (this.#rounds.size === 0) report.skip("budgets", "no round here has noise in it");
      else {
        await report.check("budgets", (say) => {
          const inOrder = [...this.#rounds].sort(([a], [b]) => a - b);
          for (const [index, round] of inOrder) this.#count(index, round, counts, budgets);
          say(counted(this.#rounds.size, "round"));
        });
      }
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    }
    return { checks: report.close(), budgets: [...budgets.values()] };
  }

  #count(
    index: number,
    { task, policy, participants }: Spent,
    counts: Map<string, Map<string, Map<bigint, bigint>>>,
    budgets: Map<string, Budget>,
  ): void {
    const [ratio, delta, epsilon] = ["ratio", "delta", "epsilon"].map((name) => option(policy, `privacy_${name}`, 0));
    const clients = counts.get(task) ?? new Map<string, Map<bigint, bigint>>();
    counts.set(task, clients);
    for (const name of participants) {
      const own = clients.get(name) ?? new Map<bigint, bigint>();
      own.set(BigInt(ratio), (own.get(BigInt(ratio)) ?? 0n) + 1n);
      clients.set(name, own);
    }
    const found = new Map<string, number>(); // of participants with the same rounds it is computed once
    const spent = [...clients].map(([name, rounds]) => {
      const key = [...rounds].sort().join();
      found.set(key, found.get(key) ?? spending(rounds, BigInt(delta), BigInt(epsilon)));
      return [name, found.get(key)!] as [string, number];
    });
    const rounds = (budgets.get(task)?.rounds ?? 0) + 1;
    budgets.set(task, { task, rounds, epsilon, delta, clients: spent });
    const here = new Set(participants); // nobody else is bound by this round's budget
    for (const [name, value] of spent.filter(([client]) => here.has(client))) {
      require(value <= epsilon, `by record ${index} rounds of task ${task} have spent more than the budget of ${name}`);
    }
  }
}
