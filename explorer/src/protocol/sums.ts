// The sums of a round, and what was proved of their norms: docs/specification.md, section 11, checks 6, 7 and 9.

import { type Bytes, equal, hex, require, utf8 } from "../decoding/bytes.ts";
import { frame, sha256Bulk } from "../crypto/hash.ts";
import { checkSignature } from "../crypto/keys.ts";
import { words } from "../crypto/ring.ts";
import { commit, type Progress } from "../zk/commitment.ts";
import { boundOf, sketchElements, sketchRandomness } from "../zk/norm/bound.ts";
import { checkNormProof } from "../zk/norm/proof.ts";
import { checkSketchedSum } from "../zk/norm/sum.ts";
import { packDigits } from "./codec/fixed_point.ts";
import {
  committed, covered, half, isAttested, isBounded, kept, largest, maskBits, randomness, rank, ranges, values,
} from "./config/layout.ts";
import { checkSigners } from "./parties.ts";
import type { Participants, ReadEvidence } from "./participants.ts";
import type { RoundConfig } from "./records.ts";
import type { Report } from "./report.ts";

/** That X is a sum of n clients' coordinates. */
export function checkRanges(x: ArrayLike<number>, n: number, config: RoundConfig): void {
  let at = 0;
  for (const range of ranges(config)) {
    const most = n * largest(config.policy, range);
    for (const end = at + range.length; at < end; at++) require(x[at] <= most, "a sum is out of range");
  }
}

export interface Sums {
  x: Uint32Array;
  noise: Uint32Array;
  added: number;
}

/** 6 and 7. */
export async function checkSums(
  evidence: ReadEvidence,
  bulk: Bytes,
  found: Participants,
  clients: number,
  total: Bytes,
  report: Report,
  progress?: Progress,
): Promise<Sums> {
  const { round: config } = evidence;
  const { policy } = config;
  const [count, width] = [committed(config), randomness(config)];
  const [x, t, noise] = await report.check("6", (say) => {
    const size = count + width + sketchRandomness(config);
    require(bulk.length === 4 * size, "the sums have a wrong length");
    const all = words(bulk);
    const split = [all.subarray(0, count), all.subarray(count, count + width), all.subarray(count + width)] as const;
    require(kept(policy, clients) >= 1, "nothing is left of the sum");
    checkRanges(split[0], kept(policy, clients), config);
    const most = clients * (2 ** maskBits(policy) - 1);
    for (let i = 0; i < width; i++) require(split[1][i] <= most, "a sum of the randomness is out of range");
    say(`${size} sums`);
    return split;
  });
  const added = kept(policy, clients);
  await report.check("7", async (say) => {
    if (isAttested(policy)) {
      require(t.every((value) => value === 0), "randomness in a result that is no sum");
      const signed = frame("attested", found.session, found.root, await sha256Bulk(bulk));
      await checkSigners(evidence.attestation, found.signers, signed, found.signers.size, "attestation");
      say("NOT a sum: all operators have signed this result, and nothing else vouches for it");
      return;
    }
    require(evidence.attestation.length === 0, "a part that this backend has not");
    const made = await commit(packDigits(x, config), t, rank(config), progress);
    require(equal(made, total), "the sums do not open the sum of the commitments");
    say(`${count + width} numbers hashed`);
  });
  return { x, noise, added };
}

/** 9; returns how many norm proofs were checked. */
export async function checkNorms(
  evidence: ReadEvidence,
  found: Participants,
  sums: Sums,
  report: Report,
  proofs: readonly Bytes[],
): Promise<number> {
  const { round: config, context } = evidence;
  if (!isBounded(config.policy)) {
    for (const number of ["9", "9p"]) report.skip(number, "no norm is bounded in this round");
    return 0;
  }
  const bound = boundOf(config.policy, config.weight_limit);
  const sketches = evidence.openings.map((item) => item.sketch!);
  await report.check("9", async () => {
    await Promise.all(evidence.openings.map(async (item) => {
      require(item.sketch!.length === 4 * sketchElements(bound), "a sketch of another length");
      const signed = frame("sketch", found.session, utf8(item.name), item.sketch!, item.proof!);
      await checkSignature(found.cohort.get(item.name)!, item.signature!, signed, `the sketch of ${item.name}`);
    }));
    const first = values(config);
    const side = sums.x.subarray(first, first + bound.L + bound.e);
    const h = half(config.policy);
    await checkSketchedSum(bound, found.session, sketches, sums.x, covered(config), h, side, sums.noise);
  });
  const atHand = new Map(await Promise.all(proofs.map(async (proof) => [hex(await sha256Bulk(proof)), proof] as const)));
  const wanted = evidence.openings.filter((item) => atHand.has(hex(item.proof!)));
  if (wanted.length === 0) {
    report.skip("9p", `none of ${evidence.openings.length} proofs is at hand: drop them on the page`);
    return 0;
  }
  await report.check("9p", async (say) => {
    for (const item of wanted) {
      const { name, commitment } = item;
      const statement = { context, session: found.session, name, commitment, sketch: item.sketch!, bound };
      await checkNormProof(statement, atHand.get(hex(item.proof!))!);
    }
    say(`${wanted.length} of ${evidence.openings.length} proofs seen and checked`);
  });
  return wanted.length;
}
