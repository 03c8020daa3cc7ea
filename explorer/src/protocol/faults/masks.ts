// A session of `masking` with screening, and the numbers that follow from a root: docs/specification.md, section 7.

import { type Bytes, equal, require, unpack, utf8 } from "../../decoding/bytes.ts";
import { decode } from "../../decoding/messagepack.ts";
import { digest, kdf } from "../../crypto/hash.ts";
import { KeyStream } from "../../crypto/keystream.ts";
import { add, inverse, mul, N, reduce, toElements } from "../../crypto/ring.ts";
import { commitElements } from "../../zk/commitment.ts";
import { boundOf, type Bound, sketchRandomness } from "../../zk/norm/bound.ts";
import { commitSketch, sketch, sketchKey } from "../../zk/norm/sketch.ts";
import { sparseDegree } from "../graph.ts";
import {
  covered, half, hashedElements, isBounded, isPacked, option, quorum, randomness, rank, sharedLength, values,
} from "../config/layout.ts";
import { isSparse, readExhibit, type ShownSession } from "../kinds/sparse.ts";
import { checkOrder } from "../parties.ts";
import { maskKeyOf } from "../participants.ts";
import { Advertisement, AdvertisementList, DealtShares, Header, KeyShares, Report } from "../records.ts";
import { sessionOf } from "../signed.ts";
import { type Case, isRefusal, LIMIT, messageOf, readOrNull } from "./case.ts";

const ROWS = 5;

/** Of which phase a report is: only one of `screen-sketches` is of sketches alone. */
export interface Listed {
  root: Bytes;
  ofSketches: boolean;
}

export interface Said {
  listed: Listed;
  seedHash: Bytes;
  own: number[];
  others: number[][];
  peers: number[];
}

/** A session as a proof shows it: who is in it, and the mask keys of all, or in a sparse one of some. */
export interface Session {
  sid: Bytes;
  names: string[];
  keys: Map<string, Bytes>;
  /** In a sparse session, in which more may be shown. */
  shown: ShownSession | null;
}

/** The mask keys of what was advertised. */
export function keysOf(bodies: Iterable<readonly [string, Bytes]>): Map<string, Bytes> {
  return new Map([...bodies].map(([name, body]) => {
    return [name, maskKeyOf(decode(Advertisement, body, 1024, "an advertisement").backend)];
  }));
}

/** The session that a proof's first exhibit is of. */
export async function readSession({ config, context }: Case, data: Bytes): Promise<Session> {
  require([1, 2].includes(option(config.policy, "screening", 0)), "nothing is screened in this round");
  if (isSparse(config)) {
    const { bodies, ...shown } = await readExhibit(data, config, context);
    return { sid: shown.sid, names: shown.names, keys: keysOf(bodies), shown };
  }
  const limit = (64 + config.cohort_size) * 1024;
  const items = decode(AdvertisementList, data, limit, "the advertisements").advertisements;
  const names = items.map((item) => item.name);
  checkOrder(names, "advertisements");
  require(items.length <= config.cohort_size, "more clients than the cohort has");
  const keys = keysOf(items.map((item) => [item.name, item.body]));
  return { sid: sessionOf(context, items), names, keys, shown: null };
}

export class Masks {
  readonly names: readonly string[];
  readonly sid: Bytes;
  readonly bound: Bound | null;

  constructor(readonly found: Case, readonly session: Session) {
    const { config } = found;
    [this.names, this.sid] = [session.names, session.sid];
    this.bound = isBounded(config.policy) ? boundOf(config.policy, config.weight_limit) : null;
  }

  /** The mask key of the culprit. */
  get key(): Bytes {
    const found = this.session.keys.get(this.found.proof.culprit);
    require(found !== undefined, "the culprit's advertisement is not shown");
    return found;
  }

  /** Whose mask key it is. */
  owner(key: Bytes): number {
    const found = [...this.session.keys].find(([, known]) => equal(known, key));
    require(found !== undefined, "a key that nobody advertised who is shown");
    return this.names.indexOf(found[0]);
  }

  /** The culprit's index. */
  get me(): number {
    const index = this.names.indexOf(this.found.proof.culprit);
    require(index >= 0, "the culprit did not advertise");
    return index;
  }

  name(index: number): Bytes {
    return utf8(this.names[index]);
  }

  message(data: Bytes, phase: string) {
    return messageOf(this.found, data, phase, this.sid);
  }

  /** Whether a list of sketches may follow: each value is an element of what is hidden. */
  get testsSketches(): boolean {
    return option(this.found.config.policy, "screening", 0) === 1 && this.isLinear;
  }

  get #atOnce(): boolean {
    return option(this.found.config.policy, "screening", 0) === 2;
  }

  get isLinear(): boolean {
    return this.bound !== null && !isPacked(this.found.config);
  }

  /** The phase of a message that says something of a list, or of a failed sum. */
  phaseOf(data: Bytes): string {
    const { phase } = decode(Header, unpack(data)[0], LIMIT, "a message");
    require(phase === "screen" || (phase === "screen-sketches" && this.testsSketches), "another phase");
    return phase;
  }

  /** A report; null for what is none. */
  async report(data: Bytes): Promise<Said | null> {
    const phase = this.phaseOf(data);
    const { header } = await this.message(data, phase);
    const said = readOrNull(Report, header.body);
    if (said === null) return null;
    const { peers } = said;
    const inOrder = peers.every((peer, i) => (i === 0 || peers[i - 1] < peer) && peer < this.names.length);
    if (!inOrder || peers.includes(this.me) || said.values.length !== 4 * ROWS * (1 + peers.length)) return null;
    let flat: Float64Array;
    try {
      flat = toElements(said.values, ROWS * (1 + peers.length), "the values");
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return null;
    }
    const rows = Array.from({ length: 1 + peers.length }, (_, i) => [...flat.slice(ROWS * i, ROWS * (i + 1))]);
    const listed = { root: said.root, ofSketches: phase === "screen-sketches" };
    return { listed, seedHash: said.seed_hash, own: rows[0], others: rows.slice(1), peers };
  }

  /** Coordinates of t_2 that are tested. */
  get #side(): number {
    return this.isLinear ? this.bound!.L + this.bound!.e : 0;
  }

  /** The five rows of `screening`: for the commitment, then t_0, then t_2. */
  async #rows(listed: Listed): Promise<Float64Array[]> {
    const more = this.bound ? this.bound.rho * N + this.#side : 0;
    const stream = new KeyStream(digest("screening", this.sid, listed.root));
    return Promise.all([0, 1, 2, 3, 4].map((row) => stream.residues(row, rank(this.found.config) * N + more)));
  }

  /** φ of commitment and C', or of what section 5 and 16 map a vector to. */
  async #phi(listed: Listed, committed: Float64Array, elements: Float64Array | null): Promise<number[]> {
    const rows = await this.#rows(listed);
    const tested = [...committed];
    if (this.bound && elements) {
      const rho = this.bound.rho * N;
      tested.push(...elements.subarray(0, rho), ...elements.subarray(rho + N, rho + N + this.#side));
    }
    return rows.map((row) => {
      let sum = 0;
      for (let i = 0; i < tested.length; i++) sum = add(sum, mul(row[i], tested[i]));
      return sum;
    });
  }

  /** ⟨q_e, t_1⟩ of the elements of C'. */
  async #ofT1(listed: Listed, elements: Float64Array): Promise<number[]> {
    const stream = new KeyStream(digest("screening-sketches", this.sid, listed.root));
    const first = this.bound!.rho * N;
    return Promise.all([0, 1, 2, 3, 4].map(async (row) => {
      const q = await stream.residues(row, N);
      let sum = 0;
      for (let i = 0; i < N; i++) sum = add(sum, mul(q[i], elements[first + i]));
      return sum;
    }));
  }

  async #psi(listed: Listed, e: ArrayLike<number>, noise: ArrayLike<number>): Promise<number[]> {
    const bound = this.bound!;
    const v = await sketch(sketchKey(this.sid), e, true);
    return this.#ofT1(listed, await commitSketch(bound, v, new Float64Array(bound.L + bound.e), noise));
  }

  /** The values that what a client has committed to has to have. */
  async ofCommitted(listed: Listed, committed: Float64Array, elements: Float64Array | null): Promise<number[]> {
    let found = new Array<number>(ROWS).fill(0);
    const { config } = this.found;
    if (listed.ofSketches || this.#atOnce) {
      const bound = this.bound!;
      const centre = new Float64Array(covered(config)).fill(half(config.policy));
      found = sum(await this.#ofT1(listed, elements!), await this.#psi(listed, centre, new Float64Array(bound.J * N)));
      if (listed.ofSketches) return found;
    }
    return sum(found, await this.#phi(listed, committed, elements));
  }

  /** Of the elements of a vector, s and s' included. */
  async ofVector(listed: Listed, vector: Float64Array): Promise<number[]> {
    const { config } = this.found;
    const noiseSize = sketchRandomness(config);
    const noise = vector.subarray(vector.length - noiseSize);
    let found = new Array<number>(ROWS).fill(0);
    if (listed.ofSketches || this.#atOnce) {
      found = await this.#psi(listed, vector.subarray(0, covered(config)), noise);
      if (listed.ofSketches) return found;
    }
    const split = hashedElements(config);
    const x = vector.subarray(0, split);
    const s = vector.subarray(split, split + randomness(config));
    const committed = await commitElements(x, s, rank(config));
    let elements: Float64Array | null = null;
    if (this.bound) {
      const side = new Float64Array(this.bound.L + this.bound.e);
      const first = values(config);
      if (this.#side) for (let l = 0; l < side.length; l++) side[l] = vector[first + l];
      elements = await commitSketch(this.bound, new Float64Array(N), side, noise);
    }
    return sum(found, await this.#phi(listed, committed, elements));
  }

  get length(): number {
    return sharedLength(this.found.config) + sketchRandomness(this.found.config);
  }

  async ofMask(listed: Listed, key: Bytes): Promise<number[]> {
    return this.ofVector(listed, await new KeyStream(key).prg(this.length));
  }

  pairMask(agreed: Bytes, peer: number): Bytes {
    const [lesser, greater] = this.me < peer ? [this.me, peer] : [peer, this.me]; // as ids are, in order
    return kdf(agreed, "pairwise-mask", this.sid, this.name(lesser), this.name(greater));
  }

  seedHash(seed: Bytes): Bytes {
    return digest("self-mask-seed", this.sid, this.name(this.me), seed);
  }

  /** Shares that rebuild a secret. */
  get #threshold(): number {
    const { config } = this.found;
    const { policy } = config;
    if (config.cohort_size > option(policy, "complete_up_to", 128)) {
      const degree = sparseDegree(this.names.length, policy.max_corrupt);
      if (degree !== null) return degree.t;
    }
    return quorum(config.cohort_size, policy);
  }

  /** The secret that shares rebuild which the culprit has dealt; null where they rebuild none. */
  async rebuilt(dealt: Bytes, shown: Bytes, kind: "mask-key" | "self-seed"): Promise<Bytes | null> {
    const { header } = await this.message(dealt, "share-keys");
    const said = decode(KeyShares, header.body, LIMIT, "the shares that were dealt");
    const field = kind === "mask-key" ? "mask_hash" : "seed_hash";
    const hashes = new Map(said.edges.map((edge) => [edge.peer, edge[field]]));
    if (kind === "self-seed" && said.own_hash.length > 0) hashes.set(this.me, said.own_hash);
    const { holders, shares } = decode(DealtShares, shown, LIMIT, "dealt shares");
    const inOrder = holders.every((holder, i) => (i === 0 || holders[i - 1] < holder) && holder < this.names.length);
    require(inOrder, "holders are not in order, or no participants");
    const fits = holders.length === this.#threshold && shares.length === 36 * holders.length;
    require(fits, "another number of shares");
    const parts = new Map(holders.map((holder, i) => [holder, shares.slice(36 * i, 36 * (i + 1))]));
    for (const [holder, share] of parts) {
      const made = digest("share", this.sid, utf8(kind), this.name(this.me), this.name(holder), share);
      const dealtHash = hashes.get(holder);
      require(dealtHash !== undefined && equal(made, dealtHash), "a share is not the one that was dealt");
    }
    try {
      return rebuildSecret(parts);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return null;
    }
  }
}

function sum(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, i) => add(value, b[i]));
}

/** The secret behind as many shares as the threshold, by holder. */
export function rebuildSecret(shares: ReadonlyMap<number, Bytes>): Bytes {
  const elements = new Map([...shares].map(([holder, share]) => [holder, toElements(share, 9, "a share")]));
  let number = 0n;
  for (let limb = 0; limb < 9; limb++) {
    let total = 0;
    for (const [holder, values_] of elements) {
      let term = values_[limb];
      for (const other of elements.keys()) {
        if (other !== holder) term = mul(term, mul(reduce(other + 1), inverse(reduce(other - holder))));
      }
      total = add(total, term);
    }
    require(total < 2 ** 29, "a limb is too large");
    number |= BigInt(total) << BigInt(29 * limb);
  }
  require(number < 1n << 256n, "the secret is too large");
  const out = new Uint8Array(32);
  for (let i = 0; i < 32; i++) out[i] = Number((number >> BigInt(8 * i)) & 255n);
  return out;
}

