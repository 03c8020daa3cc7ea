// Single steps, so that the specification's intermediate values can be put to what the page ships.

import { type Bytes, hex, NONE, require, utf8, ZEROS } from "./decoding/bytes.ts";
import { decode } from "./decoding/messagepack.ts";
import { parseJson } from "./decoding/json.ts";
import { digest, frame, kdf, root, rootOfHashes } from "./crypto/hash.ts";
import { checkIdentity, isSignature } from "./crypto/keys.ts";
import { KeyStream } from "./crypto/keystream.ts";
import { fromElements } from "./crypto/ring.ts";
import { Spending } from "./ledger/spending.ts";
import { checkConsistency, checkInclusion } from "./ledger/tree.ts";
import { checkPulse, pulseNumber } from "./protocol/beacon.ts";
import { modelDigest } from "./protocol/codec/fixed_point.ts";
import { clipAt, nextStep } from "./protocol/config/groups.ts";
import { checkBackend, checkConfig, checkPolicy } from "./protocol/config/limits.ts";
import { checkPaillierKey } from "./protocol/encryption/paillier.ts";
import { EPOCH_CHECKS, lastOfEpoch, lastOfRound, pinnedForce, verifyEpoch } from "./protocol/epochs.ts";
import { Masks, readSession, rebuildSecret } from "./protocol/faults/masks.ts";
import { checkFailed } from "./protocol/faults/screening.ts";
import { checkFollows } from "./protocol/kinds/buffer.ts";
import { spending } from "./protocol/kinds/privacy.ts";
import { checkShown, sessionOfRoll } from "./protocol/kinds/sparse.ts";
import { checkId, draw, rosterDigest } from "./protocol/parties.ts";
import { Report } from "./protocol/report.ts";
import { checkRenounced } from "./protocol/renunciation.ts";
import { BeaconSource, Policy, RoundConfig, Screening, Shown, SparseRoll } from "./protocol/records.ts";
import { readTrust } from "./protocol/trust.ts";
import { checkBegins, checkChains, readLeaf } from "./ledger/leaves.ts";
import { commit } from "./zk/commitment.ts";
import { makeBound } from "./zk/norm/bound.ts";
import { checkNormProof } from "./zk/norm/proof.ts";
import { commitSketch, sketch } from "./zk/norm/sketch.ts";

interface PlainBase {
  number: number;
  record: Bytes;
  model: Bytes;
}

export const primitives = {
  frame: ({ label, parts }: { label: string; parts: Bytes[] }) => frame(label, ...parts),
  kdf: ({ secret, label, parts }: { secret: Bytes; label: string; parts: Bytes[] }) => kdf(secret, label, ...parts),
  prg: async ({ key, length }: { key: Bytes; length: number }) => fromElements(await new KeyStream(key).prg(length)),
  root: ({ leaves }: { leaves: Bytes[] }) => root(leaves),
  rootOfHashes: ({ hashes }: { hashes: Bytes[] }) => rootOfHashes(hashes),
  rebuild: ({ shares }: { shares: [number, Bytes][] }) => rebuildSecret(new Map(shares)),
  modelDigest: ({ shapes, elements }: { shapes: number[][]; elements: number[] }) =>
    modelDigest(shapes, Float64Array.from(elements)),
  commit: ({ x, s, rank }: { x: number[]; s: number[]; rank: number }) => commit(x, s, rank),
  id: ({ name }: { name: string }) => checkId(name),
  ids: ({ names }: { names: string[] }) => names.map((name) => {
    try {
      checkId(name);
      return true;
    } catch {
      return false;
    }
  }),
  json: ({ text }: { text: string }) => parseJson(text),
  identity: ({ key }: { key: Bytes }) => checkIdentity(key),
  signature: ({ key, signature, message }: { key: Bytes; signature: Bytes; message: Bytes }) =>
    isSignature(key, signature, message),
  inclusion: ({ leaf, index, size, path, root: head }: {
    leaf: Bytes; index: number; size: number; path: Bytes[]; root: Bytes;
  }) => checkInclusion(leaf, BigInt(index), BigInt(size), path, head),
  consistency: ({ old, size, proof, oldRoot, root: head }: {
    old: number; size: number; proof: Bytes[]; oldRoot: Bytes; root: Bytes;
  }) => checkConsistency(BigInt(old), oldRoot, BigInt(size), head, proof),
  drawn: ({ roster, size, beacon }: { roster: [string, Bytes][]; size: number; beacon: Bytes }) =>
    [...draw(new Map(roster), size, beacon).keys()],
  rosterDigest: ({ roster }: { roster: [string, Bytes][] }) => rosterDigest(new Map(roster)),
  pulse: ({ source, round, draw: number, signature }: {
    source: Bytes; round: number; draw: number; signature: Bytes;
  }) => {
    const read = decode(BeaconSource, source, 512, "the beacon");
    checkPulse(read.key, pulseNumber(read, BigInt(round), number), signature);
  },
  pulseOf: ({ key, number, signature }: { key: Bytes; number: number; signature: Bytes }) =>
    checkPulse(key, BigInt(number), signature),
  certificate: ({ data, config, voters, least }: {
    data: Bytes; config: Bytes; voters: [string, Bytes][]; least: number;
  }) => checkRenounced(data, decode(RoundConfig, config, 1 << 20, "the configuration"), new Map(voters), least),
  normProof: ({ bound, context, session, name, commitment, sketch: made, proof }: {
    bound: [number, number, number, number, number, number, number]; context: Bytes; session: Bytes; name: string;
    commitment: Bytes; sketch: Bytes; proof: Bytes;
  }) => checkNormProof({ context, session, name, commitment, sketch: made, bound: makeBound(...bound) }, proof),
  sketch: async ({ key, e }: { key: Bytes; e: number[] }) => [...(await sketch(key, e))],
  commitSketch: async ({ bound, v, side, s }: {
    bound: [number, number, number, number, number, number, number]; v: number[]; side: number[]; s: number[];
  }) => fromElements(await commitSketch(makeBound(...bound), v, side, s)),
  /** The last of some epochs under a trust file's pins, each after a leaf of its task. */
  epochAfter: async ({ trust, task, epochs }: {
    trust: string; task: string; epochs: { evidence: Bytes; last: Bytes | null }[];
  }) => {
    const pins = readTrust(trust);
    const found = pins.tasks.get(task);
    require(found !== undefined, "the task is not pinned");
    let force = pinnedForce(pins, task, found);
    let record = NONE;
    for (const { evidence, last } of epochs) {
      const leaf = last && readLeaf(last, 0);
      const before = leaf && (leaf.kind === "round" ? lastOfRound(leaf.record, leaf.digest)
        : lastOfEpoch(leaf.record, leaf.digest));
      const report = new Report(EPOCH_CHECKS);
      const made = await report.whole(() => verifyEpoch(force, evidence, before, report));
      [force, record] = [made.force, made.leaf];
    }
    return { leaf: record, digest: hex(force.digest) };
  },
  spending: ({ rounds, delta, epsilon }: { rounds: [number, number][]; delta: number; epsilon: number }) => {
    const counts = rounds.map(([ratio, count]) => [BigInt(ratio), BigInt(count)] as const);
    return spending(new Map(counts), BigInt(delta), BigInt(epsilon));
  },
  /** Refused unless a sum of a screened session has failed; who advertised, and the list, are as in its messages. */
  failed: async ({ config, advertised, screen, claim }: {
    config: Bytes; advertised: Bytes; screen: Bytes; claim: Bytes;
  }) => {
    const round = decode(RoundConfig, config, 1 << 20, "the configuration");
    const context = digest("round-config", config);
    const proof = { format: "", kind: "", culprit: "", public: ZEROS, config, setup: NONE, exhibits: [] };
    const found = { proof, config: round, context, aggregators: [] };
    const masks = new Masks(found, await readSession(found, advertised));
    const { inputs } = decode(Screening, screen, 1 << 30, "a list");
    await checkFailed(masks, new Map(inputs.map((item) => [item.client, item.value])), claim);
  },
  /** Whose advertisements are shown of a sparse session, in a request of phase `choose-peers` or `share-keys`. */
  shown: async ({ cohort, context, roll, shown }: {
    cohort: [string, Bytes][]; context: Bytes; roll: Bytes; shown: Bytes;
  }) => {
    const session = sessionOfRoll(new Map(cohort), decode(SparseRoll, roll, 1 << 20, "the roll"), context);
    return [...(await checkShown(session, decode(Shown, shown, 1 << 20, "what is shown"), context)).keys()];
  },
  config: ({ data }: { data: Bytes }) => checkConfig(decode(RoundConfig, data, 1 << 20, "the configuration")),
  /** That a policy's backend is as it says, with the ring that it names. */
  policy: ({ data }: { data: Bytes }) => {
    const policy = decode(Policy, data, 1 << 20, "the policy");
    checkPolicy(policy);
    checkBackend(policy);
  },
  paillierKey: ({ key, policy, signers }: { key: Bytes; policy: Bytes; signers: string[] }) =>
    checkPaillierKey(key, decode(Policy, policy, 1 << 20, "the policy"), signers),
  /** That a configuration goes on from a leaf of its task, or begins it. */
  begins: ({ config, before }: { config: Bytes; before: Bytes | null }) =>
    checkBegins(decode(RoundConfig, config, 1 << 20, "the configuration"), before && readLeaf(before, 0)),
  clips: ({ steps }: { steps: number[] }) => steps.map(clipAt),
  nextClips: ({ steps, n, within }: { steps: number[]; n: number; within: number }) =>
    steps.map((k) => nextStep(k, n, within)),
  /** Of rounds of one task, in order. */
  spent: ({ rounds }: { rounds: { policy: Bytes; participants: string[] }[] }) => {
    const all = new Spending();
    rounds.forEach(({ policy, participants }, index) => {
      all.add(index, "task", decode(Policy, policy, 1 << 20, "the policy"), participants);
    });
    return all.all();
  },
  chains: ({ leaves }: { leaves: Bytes[] }) => checkChains(leaves.map(readLeaf)).size,
  follows: ({ policy, bases, before }: { policy: Bytes; bases: PlainBase[]; before: PlainBase[] | null }) => {
    const read = (items: PlainBase[]) => items.map((base) => ({ ...base, number: BigInt(base.number) }));
    checkFollows(decode(Policy, policy, 1 << 20, "the policy"), read(bases), before && read(before));
  },
  utf8: ({ text }: { text: string }) => utf8(text),
};
