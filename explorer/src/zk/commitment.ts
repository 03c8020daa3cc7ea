// The lattice commitment: docs/specification.md, section 5.

import type { Bytes } from "../decoding/bytes.ts";
import { require } from "../decoding/bytes.ts";
import { digest } from "../crypto/hash.ts";
import { KeyStream } from "../crypto/keystream.ts";
import { add, fromElements, mul, N, transform } from "../crypto/ring.ts";

export type Progress = (done: number, all: number) => void;

const BLOCKS = 16; // of the matrix in one stream

/**
 * The k·512 elements of the commitment to coordinates with their randomness, all below p.
 *
 * The key stream of the next 16 blocks is asked for while those before are added: WebCrypto works beside.
 */
export async function commitElements(
  x: ArrayLike<number>,
  s: ArrayLike<number>,
  rank: number,
  progress: Progress = () => undefined,
): Promise<Float64Array> {
  require(s.length === (rank + 2) * N, "the randomness has a wrong length");
  const columns = Math.ceil(x.length / N);
  const all = columns + rank + 2;
  const result = new Float64Array(rank * N);
  const stream = new KeyStream(digest("commitment-matrix", new Uint8Array([rank])));
  const block = new Float64Array(N);
  let next = stream.residues(0, rank * N * BLOCKS);
  for (let first = 0; first < all; first += BLOCKS) {
    const matrix = await next;
    if (first + BLOCKS < all) next = stream.residues(first / BLOCKS + 1, rank * N * BLOCKS);
    for (let j = first; j < Math.min(first + BLOCKS, all); j++) {
      for (let i = 0; i < N; i++) block[i] = (j < columns ? x[j * N + i] : s[(j - columns) * N + i]) ?? 0;
      transform(block);
      for (let row = 0; row < rank; row++) {
        for (let t = 0, place = row * N; t < N; t++, place++) {
          result[place] = add(result[place], mul(matrix[place * BLOCKS + (j - first)], block[t]));
        }
      }
    }
    progress(Math.min(first + BLOCKS, all), all);
  }
  return result;
}

export async function commit(x: ArrayLike<number>, s: ArrayLike<number>, rank: number, progress?: Progress): Promise<Bytes> {
  return fromElements(await commitElements(x, s, rank, progress));
}
