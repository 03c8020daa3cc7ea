// Pictures: the tree over the records with the path of one, and who took part in a round.

import { h, svg } from "./dom.ts";

const WIDTH = 640;
const MOST_LEAVES = 32; // that are drawn one by one
const MOST_DOTS = 120;

/**
 * The tree over `size` records; the nodes that prove the record at `index` are marked. Larger trees are drawn around
 * that record, the rest as what it is: one hash for each subtree.
 */
export function treePicture(size: number, index: number | null): HTMLElement {
  const shown = Math.min(size, MOST_LEAVES);
  const first = index === null ? size - shown : Math.max(0, Math.min(size - shown, index - shown / 2));
  const levels: { x: number; from: number; to: number }[][] = [];
  let row = Array.from({ length: shown }, (_, i) => {
    const place = Math.floor(first) + i;
    return { x: ((i + 0.5) * WIDTH) / shown, from: place, to: place + 1 };
  });
  levels.push(row);
  while (row.length > 1) {
    const above: typeof row = [];
    for (let i = 0; i < row.length; i += 2) {
      const [left, right] = [row[i], row[i + 1]];
      above.push(right ? { x: (left.x + right.x) / 2, from: left.from, to: right.to } : left);
    }
    row = above;
    levels.push(row);
  }
  const step = 34;
  const height = levels.length * step + 16;
  const y = (level: number): number => height - 18 - level * step;
  const on = (node: { from: number; to: number }): boolean => index !== null && node.from <= index && index < node.to;
  const lines: SVGElement[] = [];
  const dots: SVGElement[] = [];
  levels.forEach((nodes, level) => nodes.forEach((node, i) => {
    const parent = levels[level + 1]?.[i >> 1];
    const marked = on(node) ? "own" : parent && on(parent) ? "proof" : "other";
    if (parent) {
      const place = { x1: node.x, y1: y(level), x2: parent.x, y2: y(level + 1), class: `line ${marked}` };
      lines.push(svg("line", place));
    }
    const name = level === 0 ? `record ${node.from}` : `records ${node.from} to ${node.to - 1}`;
    const radius = level === 0 ? 6 : 5;
    dots.push(svg("circle", { cx: node.x, cy: y(level), r: radius, class: `node ${marked}` }, svg("title", {}, name)));
  }));
  const words = size === 0 ? "An empty tree." : index === null
    ? `The tree over ${size} records${size > shown ? `, of which the last ${shown} are drawn` : ""}.`
    : `Record ${index} in the tree over ${size} records: what is filled leads from it up to the root, and the ringed `
      + `hashes beside it prove that${size > shown ? `; ${shown} records are drawn` : ""}.`;
  const label = `A binary tree. ${words}`;
  return h("figure", {},
    svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...lines, ...dots),
    h("figcaption", {}, words));
}

export interface RoundPicture {
  cohort: readonly string[];
  advertised: readonly string[];
  participants: readonly string[];
  signers: readonly string[];
}

/** Everybody who was asked, who committed, whose update is in the sum, and who signed that set. */
export function roundPicture(round: RoundPicture): HTMLElement {
  const people = round.cohort.slice(0, MOST_DOTS);
  const columns = Math.min(20, Math.max(1, people.length));
  const rows = Math.ceil(people.length / columns);
  const step = WIDTH / Math.max(columns, 8);
  const height = rows * step * 0.8 + 110;
  const [middle, bottom] = [WIDTH / 2, height - 34];
  const summed = new Set(round.participants);
  const committed = new Set(round.advertised);
  const signed = new Set(round.signers);
  const left = (WIDTH - columns * step) / 2;
  const lines: SVGElement[] = [];
  const dots: SVGElement[] = [];
  people.forEach((name, i) => {
    const cx = left + ((i % columns) + 0.5) * step;
    const cy = 16 + Math.floor(i / columns) * step * 0.8;
    const state = summed.has(name) ? "summed" : committed.has(name) ? "left" : "silent";
    const words = summed.has(name) ? `in the sum${signed.has(name) ? ", has signed the set" : ""}`
      : committed.has(name) ? "committed, and is not in the sum" : "did not take part";
    if (state === "summed") lines.push(svg("line", { x1: cx, y1: cy + 7, x2: middle, y2: bottom - 14, class: "line" }));
    dots.push(svg("circle", { cx, cy, r: 7, class: `person ${state}` }, svg("title", {}, `${name}: ${words}`)));
    if (signed.has(name)) dots.push(svg("circle", { cx, cy, r: 2.5, class: "signed" }));
  });
  dots.push(svg("rect", { x: middle - 90, y: bottom - 14, width: 180, height: 40, rx: 6, class: "sum" }));
  dots.push(svg("text", { x: middle, y: bottom + 11, class: "sumtext", "text-anchor": "middle" },
    `sum of ${round.participants.length}`));
  const more = round.cohort.length > people.length ? ` The first ${people.length} are drawn.` : "";
  const words = `${round.cohort.length} were asked, ${round.advertised.length} committed, `
    + `${round.participants.length} are in the sum (filled), ${round.signers.length} signatures bind the round to this `
    + `set (dot).${more}`;
  return h("figure", {},
    svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": words }, ...lines, ...dots),
    h("figcaption", {}, words));
}
