// Proofs of fault, whatever they are of: `verifyFault` is the entry.

import { type Bytes, equal, NONE, require, Unknown } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { draw, rosterRoot } from "../parties.ts";
import { FaultProof } from "../records.ts";
import { checkPins, checkRead, type Trust } from "../trust.ts";
import { badPartialSum, badReveal, badShare, badShares, twoCommitments, twoSets } from "./additive.ts";
import { badNormProof, checkTwoEpochs, edgeCommitment, edgeSeal, twoAdvertisements } from "./any.ts";
import { type Case, LIMIT, readCase } from "./case.ts";
import { checkScreening, SCREENING_KINDS } from "./screening.ts";

const OF_ALL: Readonly<Record<string, (found: Case) => Promise<void>>> = {
  "two-advertisements": twoAdvertisements,
  "bad-norm-proof": badNormProof,
  "edge-seal": edgeSeal,
  "edge-commitment": edgeCommitment,
};
const OF_ADDITIVE: Readonly<Record<string, (found: Case) => Promise<void>>> = {
  "two-commitments": twoCommitments,
  "bad-share": badShare,
  "bad-shares": badShares,
  "bad-reveal": badReveal,
  "bad-partial-sum": badPartialSum,
  "two-sets": twoSets,
};

export interface Conviction {
  kind: string;
  culprit: string;
  public: Bytes;
  task: string;
  round: bigint | null;
  /** Whether round and culprit are those that the verifier has pinned. */
  pinned: boolean;
}

/** What is pinned of a task in an epoch, by whoever has followed its epochs. */
export type Pinned = (task: string, epoch: bigint) => Trust | null;

/** Who is proved to have broken the protocol; refused where nobody is. `pinned` is for what `trust` is not about. */
export async function verifyFault(
  data: Bytes, trust: Trust | null = null, beacon: Bytes | null = null, pinned: Pinned = () => trust,
): Promise<Conviction> {
  const { kind, culprit, public: key } = decode(FaultProof, data, LIMIT, "the proof of fault");
  if (kind === "two-epochs") {
    const found = await checkTwoEpochs(data);
    if (trust !== null) {
      const pins = trust.tasks.get(found.task);
      require(pins !== undefined, "the task is not pinned");
      const known = [pins.roster.get(culprit), pins.administrators.get(culprit)];
      require(known.some((item) => item !== undefined && equal(item, key)), "another key than pinned");
    }
    return { kind, culprit, public: key, task: found.task, round: null, pinned: trust !== null };
  }
  const all = [...Object.keys(OF_ALL), ...Object.keys(OF_ADDITIVE), ...SCREENING_KINDS];
  if (!all.includes(kind)) throw new Unknown(`a fault of kind ${JSON.stringify(kind)} is unknown to this page`);
  const found = await readCase(data);
  const pins = pinned(found.config.task, found.config.epoch);
  if (pins !== null) checkFaultPins(found, pins, beacon);
  if (Object.hasOwn(OF_ALL, kind)) await OF_ALL[kind](found);
  else if (found.config.policy.backend === "masking") await checkScreening(found);
  else {
    require(Object.hasOwn(OF_ADDITIVE, kind), "this backend has no such fault");
    await OF_ADDITIVE[kind](found);
  }
  const { task, round } = found.config;
  return { kind, culprit, public: key, task, round, pinned: pins !== null };
}

/**
 * The round is one that the verifier has pinned, and the culprit's key as well. Of an epoch that is over nothing is
 * pinned any more: there the key, if it is still in force, is all that has to be known.
 */
function checkFaultPins(found: Case, trust: Trust, beacon: Bytes | null): void {
  const { config, proof } = found;
  checkRead(trust, config.task);
  const pins = trust.tasks.get(config.task);
  require(pins !== undefined, "the task is not pinned");
  let clients = pins.roster;
  if (config.epoch >= (pins.epoch?.number ?? 0n)) {
    clients = draw(pins.roster, config.policy.cohort_size, config.beacon);
    checkPins(config, clients, trust, beacon);
    require(equal(rosterRoot(clients), config.cohort_root), "another cohort than pinned");
  }
  const known = [clients.get(proof.culprit) ?? NONE, trust.operators.get(proof.culprit) ?? NONE];
  require(known.some((key) => equal(key, proof.public)), "another key than pinned");
}
