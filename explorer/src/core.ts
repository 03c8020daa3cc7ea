// What runs in the worker: every check, asked for by messages. It has no page, and no storage.

import { Refused, Unknown } from "./decoding/bytes.ts";
import { methods } from "./methods.ts";

interface Request {
  id: number;
  method: keyof typeof methods;
  args: unknown;
}

interface Scope {
  onmessage: ((event: { data: Request }) => void) | null;
  postMessage(message: unknown): void;
}

const scope = self as unknown as Scope;

scope.onmessage = async ({ data: { id, method, args } }) => {
  let last = 0;
  const progress = (done: number, all: number): void => {
    if (done !== all && Date.now() - last < 50) return;
    last = Date.now();
    scope.postMessage({ id, progress: [done, all] });
  };
  try {
    const run = methods[method] as (args: unknown, progress: (done: number, all: number) => void) => unknown;
    scope.postMessage({ id, result: await run(args, progress) });
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    scope.postMessage({ id, error: said, refused: error instanceof Refused, unknown: error instanceof Unknown });
  }
};
