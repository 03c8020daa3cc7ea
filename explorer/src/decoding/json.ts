// JSON, strictly: `JSON.parse` keeps the last of two equal keys, reorders keys that look like integers, and rounds
// large integers. Objects become Maps, integers bigints; a float is what is written with a point or an exponent.

import { require } from "./bytes.ts";

export type Json = null | boolean | bigint | number | string | Json[] | Map<string, Json>;

const DEPTH = 64;

export function parseJson(text: string): Json {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.space();
  require(parser.at === text.length, "something follows the JSON");
  return value;
}

class Parser {
  at = 0;

  constructor(readonly text: string) {}

  space(): void {
    while (" \t\n\r".includes(this.text[this.at] ?? "x")) this.at++;
  }

  #expect(word: string): void {
    require(this.text.startsWith(word, this.at), `no ${word} where it has to be in the JSON`);
    this.at += word.length;
  }

  #next(char: string): boolean {
    this.space();
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  value(depth: number): Json {
    require(depth < DEPTH, "the JSON is too deep");
    this.space();
    const char = this.text[this.at];
    if (char === "{") return this.#object(depth);
    if (char === "[") return this.#array(depth);
    if (char === '"') return this.#string();
    for (const [word, value] of [["null", null], ["true", true], ["false", false]] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    const pattern = /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    require(found !== null, "no JSON");
    this.at += found[0].length;
    return found[2] || found[3] ? Number(found[0]) : BigInt(found[0]);
  }

  #object(depth: number): Map<string, Json> {
    const out = new Map<string, Json>();
    this.#expect("{");
    if (this.#next("}")) return out;
    do {
      this.space();
      const name = this.#string();
      require(!out.has(name), `the field ${JSON.stringify(name)} is there twice`);
      require(this.#next(":"), "no : in the JSON");
      out.set(name, this.value(depth + 1));
    } while (this.#next(","));
    require(this.#next("}"), "no } in the JSON");
    return out;
  }

  #array(depth: number): Json[] {
    const out: Json[] = [];
    this.#expect("[");
    if (this.#next("]")) return out;
    do out.push(this.value(depth + 1));
    while (this.#next(","));
    require(this.#next("]"), "no ] in the JSON");
    return out;
  }

  #string(): string {
    const pattern = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    require(found !== null, "no text in the JSON");
    this.at += found[0].length;
    return JSON.parse(found[0]) as string; // one literal, whose spelling has been checked
  }
}
