// The worker, asked by promises.

import type { methods } from "../methods.ts";

type Methods = typeof methods;
export type Result<M extends keyof Methods> = Awaited<ReturnType<Methods[M]>>;
type Progress = (done: number, all: number) => void;

interface Answer {
  id: number;
  progress?: [number, number];
  result?: unknown;
  error?: string;
  refused?: boolean;
  unknown?: boolean;
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: Error) => void;
  progress: Progress;
}

/** What the worker refused, in words; `unknown` where it has no check for it. */
export class Refusal extends Error {
  constructor(message: string, readonly unknown: boolean) {
    super(message);
  }
}

export class Client {
  #worker: Worker;
  #next = 0;
  #waiting = new Map<number, Waiting>();

  constructor(source: string) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.#worker = new Worker(address);
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#answered(data);
    this.#worker.onerror = (event) => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Error(event.message || "the worker has failed"));
      this.#waiting.clear();
    };
  }

  #answered({ id, progress, result, error, refused, unknown }: Answer): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    if (progress) return waiting.progress(...progress);
    this.#waiting.delete(id);
    if (error !== undefined) waiting.reject(refused ? new Refusal(error, unknown === true) : new Error(error));
    else waiting.resolve(result as never);
  }

  ask<M extends keyof Methods>(
    method: M, args: Parameters<Methods[M]>[0], progress: Progress = () => undefined,
  ): Promise<Result<M>> {
    const id = ++this.#next;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject, progress });
      this.#worker.postMessage({ id, method, args });
    });
  }
}
