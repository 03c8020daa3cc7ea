// Sparse graphs of backend `masking`: docs/specification.md, sections 7 and 17. Logarithms to base 2.

const LOG = Math.log2(Math.E);
const factorials: number[] = [0];

/** log2 C(n, k); -Infinity where there are none. */
function logChoose(n: number, k: number): number {
  if (k < 0 || k > n || n < 0) return -Infinity;
  while (factorials.length <= n) factorials.push(factorials[factorials.length - 1] + Math.log(factorials.length));
  return (factorials[n] - factorials[k] - factorials[n - k]) * LOG;
}

function logSum(terms: readonly number[]): number {
  const most = terms.reduce((a, b) => Math.max(a, b), -Infinity);
  if (most === -Infinity) return most;
  return most + Math.log2(terms.reduce((sum, term) => sum + 2 ** (term - most), 0));
}

/** log2 P[at least `least` marked among `drawn`]. */
function tail(population: number, marked: number, drawn: number, least: number): number {
  const terms: number[] = [];
  for (let i = Math.max(least, 0); i <= Math.min(drawn, marked); i++) {
    terms.push(logChoose(marked, i) + logChoose(population - marked, drawn - i));
  }
  return Math.min(0, logSum(terms) - logChoose(population, drawn));
}

/** Neighbours that each client chooses, and the threshold; null where the graph is complete. */
export function sparseDegree(n: number, corrupt: number): { k: number; t: number } | null {
  const silent = Math.max(1, Math.floor(n / 10));
  const honest = n - corrupt;
  for (let k = 1; k < n - 1; k++) {
    const fits: number[] = [];
    for (let t = 1; t <= k; t++) {
      const secret = 1 + Math.log2(n) + tail(n - 1, corrupt, k, t) <= -40;
      if (secret && Math.log2(n) + tail(n - 1, silent, k, k - t + 1) <= -20) fits.push(t);
    }
    for (const t of new Set([...fits.slice(0, 1), ...fits.slice(-1)])) {
      const terms: number[] = [];
      for (let s = 1; s <= Math.floor(honest / 2); s++) {
        // few neighbours among the others of h: at least t of those who are none of them
        const left = tail(n - 1, n - 1 - (honest - s), k, t) * s;
        const right = tail(n - 1, n - 1 - s, k, t) * (honest - s);
        terms.push(logChoose(honest, s) + left + right);
      }
      if (logSum(terms) <= -40) return { k, t };
    }
  }
  return null;
}

/** How many of G have to renounce on a complete graph. */
export function renouncersOfAll(members: number, corrupt: number): number {
  return members + corrupt - (Math.floor((members + corrupt) / 2) + 1) + 1;
}

function bound(members: number, corrupt: number, least: number, advertised: number, k: number, t: number): number {
  const quorum = Math.floor((members + corrupt) / 2) + 1;
  const honest = advertised - corrupt;
  const marked = members - least + corrupt;
  const reached = tail(advertised - 1, Math.min(marked, advertised - 1), k, t);
  if (reached === -Infinity) return reached;
  const choices = logChoose(honest, Math.min(marked - corrupt, honest)) + logChoose(honest, quorum - corrupt);
  return choices + (quorum - corrupt) * reached;
}

/** How many of G have to renounce where |G| is above `complete_up_to`. */
export function renouncersOfSparse(members: number, corrupt: number, minAdvertised: number): number {
  let least = renouncersOfAll(members, corrupt);
  const sizes = new Set([Math.floor((minAdvertised + members) / 2), members]);
  for (let size = minAdvertised; size < Math.min(minAdvertised + 4, members); size++) sizes.add(size);
  for (const size of sizes) {
    const degree = sparseDegree(size, corrupt);
    if (degree === null) continue;
    while (least <= members && bound(members, corrupt, least, size, degree.k, degree.t) > -40) least++;
  }
  return least;
}
