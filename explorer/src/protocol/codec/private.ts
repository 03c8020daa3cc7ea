// Sums of updates with noise in them: docs/specification.md, section 23, *Decoding*.

import { type Bytes, require } from "../../decoding/bytes.ts";
import { blocksOf } from "../config/blocks.ts";
import { half, modelSize } from "../config/layout.ts";
import { numbers } from "../kinds/privacy.ts";
import type { RoundConfig } from "../records.ts";
import type { Decoded } from "./fixed_point.ts";
import { turnBack } from "./rotation.ts";

/** The error bound is of rounding, the noise apart. */
export async function decodePrivate(
  sums: ArrayLike<number>,
  n: number,
  config: RoundConfig,
  context: Bytes,
): Promise<Decoded> {
  const { policy } = config;
  const found = numbers(config);
  const [size, all, h] = [modelSize(config), Number(found.D), half(policy)];
  require(sums.length === all + 1 && sums[all] === n, "the weights are not 1 each");
  const unit = policy.clip / Number(found.L * BigInt(n));
  const means = await turnBack((at) => sums[at] - n * h, blocksOf(size), size, unit, context, "values");
  const error = (Math.sqrt(Math.min(4096, all)) * policy.clip) / Number(found.L);
  return { means, error, weight: BigInt(n), lowered: 0, raised: 0 };
}
