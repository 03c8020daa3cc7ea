"""A second implementation of section 16 of docs/specification.md, prover and verifier, written from that file alone.

Plain integers, and arrays of them where many are multiplied: polynomials are evaluated at many points by halving, else
term by term. It shares nothing with the product: no module of `mpc`, `zk` or `secure_agg` is imported.
Everything that it refuses is a `ValueError`.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

PROTOCOL = "secure-agg/2"
P = 2**31 - 10239
N = 512
QUERIES = 127
PARTS = 4
COLUMNS = 4096
BLOCK = 16384
ROW_DEGREE = N + QUERIES
SUM_DEGREE = 2 * ROW_DEGREE - 1
BITS_DEGREE = SUM_DEGREE - N

Integers = npt.NDArray[np.int64]


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


# -------------------------------------------------------------------------------------------- 1 and 2: conventions


def u64(i: int) -> bytes:
    return i.to_bytes(8, "little")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def frame(label: str, *parts: bytes) -> bytes:
    return b"".join(u64(len(item)) + item for item in (PROTOCOL.encode(), label.encode(), *parts))


def digest(label: str, *parts: bytes) -> bytes:
    return sha(frame(label, *parts))


def kdf(secret: bytes, label: str, *context: bytes) -> bytes:
    """HKDF-SHA256, one block."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, frame(label, *context) + b"\1", "sha256")


def encryptor(key: bytes, number: int) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(number.to_bytes(8, "big") + bytes(8))).encryptor()


def stream(key: bytes, number: int) -> Iterator[bytes]:
    """The stream, 4 bytes at a time."""
    source = encryptor(key, number)
    while True:
        block = source.update(bytes(4096))
        for i in range(0, len(block), 4):
            yield block[i : i + 4]


def words(key: bytes, number: int) -> Iterator[int]:
    source = encryptor(key, number)
    while True:
        yield from struct.unpack("<4096I", source.update(bytes(16384)))


def residues(key: bytes, number: int, count: int) -> list[int]:
    out: list[int] = []
    for word in words(key, number):
        if len(out) == count:
            return out
        if word & 0x7FFFFFFF < P:
            out.append(word & 0x7FFFFFFF)
    return out


def elements(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def parse_elements(data: bytes) -> list[int]:
    out = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    require(all(value < P for value in out), "an element is not below p")
    return out


# ------------------------------------------------------------------------------------------------- 5: the points


PSI = next(root for root in (pow(g, (P - 1) // 1024, P) for g in range(2, 1000)) if pow(root, N, P) == P - 1)
ORDER = [int(f"{t:09b}"[::-1], 2) for t in range(N)]
"""ζ_t = ψ · (ψ²)^ORDER[t]; the reversal of 9 bits undoes itself."""


@cache
def zetas() -> list[int]:
    return [pow(PSI, 2 * r + 1, P) for r in ORDER]


def raised(points: Sequence[int], count: int) -> Integers:
    """x^0, x^1, …, so many, of each point x: (points, count)."""
    x = np.array(points, np.int64)
    out = np.ones((len(points), count), np.int64)
    for i in range(1, count):
        out[:, i] = out[:, i - 1] * x % P
    return out


def dots(a: npt.ArrayLike, b: Integers) -> Integers:
    """Each row of ``a`` times each of ``b`` modulo p, (rows of a, rows of b): of coefficients and powers, values.
    Elements are cut in halves of 16 bits: a sum of 2^15 products is below 2^63.
    """
    rows, halves = np.asarray(a, np.int64), (b >> 16, b & 0xFFFF)
    high, low = (rows @ half.T for half in halves)
    found: Integers = ((high % P << 16) + low) % P
    return found


@cache
def powers(x: int) -> list[int]:
    """x^0 … x^511."""
    return raised([x], N)[0].tolist()


def at_powers(f: Sequence[int], root: int) -> list[int]:
    """The values of a polynomial at root^0, root^1, …, as many as it has coefficients: f(x) = g(x²) + x·h(x²), and the
    root is of that order, a power of 2.
    """
    if len(f) == 1:
        return list(f)
    g, h = at_powers(f[::2], root * root % P), at_powers(f[1::2], root * root % P)
    low, high, x = [], [], 1
    for a, b in zip(g, h, strict=True):
        low.append((a + x * b) % P)
        high.append((a - x * b) % P)
        x = x * root % P
    return low + high


def at_zetas(f: Sequence[int]) -> list[int]:
    """The values of a polynomial of degree < 512 at ζ_0 … ζ_511."""
    values = at_powers([c * x for c, x in zip(f, powers(PSI), strict=True)], PSI**2 % P)
    return [values[r] for r in ORDER]


def power_sums(y: Sequence[int]) -> list[int]:
    """Σ_t y_t · ζ_t^i for i = 0 … 511."""
    sums = at_powers([y[t] for t in ORDER], PSI**2 % P)
    return [c * x % P for c, x in zip(sums, powers(PSI), strict=True)]


def point(column: int) -> int:
    return pow(2, column // N + 1, P) * zetas()[column % N] % P


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(map(int.__mul__, a, b)) % P


def interpolated(values: Sequence[int]) -> list[int]:
    """The polynomial of degree < 512 with these values at ζ_0 … ζ_511."""
    inverse = pow(PSI, -1, P)
    sums = at_powers([values[t] for t in ORDER], inverse**2 % P)
    scale = pow(N, -1, P)
    return [c * x * scale % P for c, x in zip(sums, powers(inverse), strict=True)]


def multiply(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """By one product of long integers, each coefficient in a field wide enough for its sum."""
    width = 80
    left = int.from_bytes(b"".join(c.to_bytes(width // 8, "little") for c in a), "little")
    right = int.from_bytes(b"".join(c.to_bytes(width // 8, "little") for c in b), "little")
    data = (left * right).to_bytes((len(a) + len(b)) * width // 8, "little")
    step = width // 8
    return [int.from_bytes(data[i : i + step], "little") % P for i in range(0, (len(a) + len(b) - 1) * step, step)]


def add_to(total: list[int], values: Sequence[int], factor: int = 1) -> None:
    for i, value in enumerate(values):
        total[i] = (total[i] + factor * value) % P


# ------------------------------------------------------------------------------------------------------ the bound


@dataclass(frozen=True)
class Bound:
    n: int
    B: int
    M: int
    m: int
    limb: int
    L: int
    e: int

    def __post_init__(self) -> None:
        require(1 <= self.m <= self.M < 2**28 and self.B >= 1 and 1 <= self.limb <= 28, "weights, norm or limb")
        require(self.L * self.limb >= self.M.bit_length() and self.e >= 0 and self.L + self.e <= 34, "limbs")
        require(1 <= self.n <= 2**18 and 2 * self.n * self.offset < P, "too many clients for this norm")
        require(self.n * (2 ** min(self.limb, self.omega) - 1) < P, "too many clients for this limb")

    @property
    def kappa(self) -> int:
        return max(0, (6 * self.B - 1).bit_length() - 10)

    @property
    def beta(self) -> int:
        return self.kappa + 11

    @property
    def offset(self) -> int:
        return 2 ** (self.beta - 1) + 2**self.kappa // 2

    @property
    def alpha(self) -> int:
        return -(-20 * self.B // 2**self.kappa)

    @property
    def omega(self) -> int:
        return self.M.bit_length()

    @property
    def g(self) -> int:
        return max(0, self.omega - 16)

    @property
    def M1(self) -> int:  # noqa: N802
        return self.M // 2**self.g

    @property
    def rho(self) -> int:
        return 1 if self.n <= 2**10 else 2

    @property
    def J(self) -> int:  # noqa: N802
        return {1: 6, 2: 8}[self.rho]

    @property
    def rows(self) -> int:
        return 2 * self.J + self.beta + 2

    def encoding(self) -> bytes:
        return b"".join(map(u64, (self.n, self.B, self.M, self.m, self.limb, self.L, self.e)))


# ------------------------------------------------------------------------------------------ sketch and commitment


def sketch_key(sid: bytes) -> bytes:
    return digest("norm-sketch", sid)


def sketch(key: bytes, e: Sequence[int]) -> list[int]:
    v: list[int] = []
    padded = np.zeros(-(-len(e) // BLOCK) * BLOCK, np.int64)
    padded[: len(e)] = e
    blocks = padded.reshape(-1, BLOCK)
    rows = np.arange(32)[:, None]
    for g in range(4):
        random = [read(key, 4 * (m + 1) + g, 32768 + 64) for m in range(-(-len(blocks) // 4))]
        of_rows = read(key, g, 131072)
        for c in range(16):
            y = np.zeros((32, 512), np.int64)  # of k in 0 … 16383, k // 512 and k % 512
            for b, block in enumerate(blocks):
                m, q = divmod(b, 4)
                r = random[m][32768 + 4 * c + q] % BLOCK
                turned = np.concatenate([block[r:], block[:r]]).reshape(32, 512)
                for u in range(4):
                    signs = random[m][(4 * c + u) * 512 : (4 * c + u + 1) * 512]
                    for j in range(8):
                        y[8 * u + j] += turned[8 * u + j] * (1 - 2 * (signs >> 4 * j + q & 1))
            for i in range(8):
                plus, minus = (of_rows[((8 * c + i) * 2 + h) * 512 :][:512] for h in range(2))
                v.append(int((((plus >> rows & 1) - (minus >> rows & 1)) * y).sum()))
    return v


def read(key: bytes, number: int, count: int) -> Integers:
    return np.frombuffer(encryptor(key, number).update(bytes(4 * count)), "<u4").astype(np.int64)


@cache
def matrix(rho: int, blocks: int) -> tuple[list[int], list[int]]:
    key = digest("sketch-matrix", bytes([rho]))
    return residues(key, 0, (rho + 1) * blocks * N), residues(key, 1, 34 * blocks * N)


def commit_sketch(bound: Bound, v: Sequence[int], side: Sequence[int], s: Sequence[int]) -> list[int]:
    ring, plain = matrix(bound.rho, bound.J)
    at_zeta = [at_zetas(s[N * j : N * (j + 1)]) for j in range(bound.J)]
    v_at_zeta = at_zetas([value % P for value in v])
    out = []
    for i in range(bound.rho + 1):
        for t in range(N):
            out.append(sum(ring[(i * bound.J + j) * N + t] * at_zeta[j][t] for j in range(bound.J)) % P)
            if i == bound.rho:
                out[-1] = (out[-1] + v_at_zeta[t]) % P
    size = bound.J * N
    return out + [(dot(plain[row * size : (row + 1) * size], s) + value) % P for row, value in enumerate(side)]


# --------------------------------------------------------------------------------------------------- the statement


@dataclass(frozen=True)
class Statement:
    ctx: bytes
    sid: bytes
    name: str
    commitment: bytes
    sketch: bytes
    bound: Bound

    @cached_property
    def digest(self) -> bytes:
        return digest(
            "norm-statement",
            b"context",
            self.ctx,
            b"session",
            self.sid,
            b"name",
            self.name.encode(),
            b"commitment",
            self.commitment,
            b"sketch",
            self.sketch,
            b"bound",
            self.bound.encoding(),
            b"sketch-key",
            sketch_key(self.sid),
        )


@dataclass(frozen=True)
class FirstChallenge:
    key: bytes
    gamma: list[list[int]]
    equations: list[list[int]]
    delta: list[list[int]]


@cache
def first_challenge(statement: Statement, root: bytes) -> FirstChallenge:
    key, bound = digest("norm-challenge", statement.digest, root), statement.bound

    def parts(number: int, count: int) -> list[list[int]]:
        flat = residues(key, number, PARTS * count)
        return [flat[a * count : (a + 1) * count] for a in range(PARTS)]

    equations = (bound.rho + 2) * N + bound.L + bound.e + 4
    return FirstChallenge(key, parts(0, bound.rows), parts(1, equations), parts(2, bound.rows - 1))


def opened_columns(key: bytes, coefficients: bytes) -> list[int]:
    found: set[int] = set()
    for word in words(digest("norm-queries", key, coefficients), 0):
        found.add(word & 0xFFF)
        if len(found) == QUERIES:
            break
    return sorted(found)


@cache
def weights(statement: Statement, root: bytes, a: int) -> tuple[list[list[int]], int, int]:
    """For part a of the first challenge: W_r[i] of each row r, τ, and Z."""
    bound, challenges = statement.bound, first_challenge(statement, root).equations[a]
    target = parse_elements(statement.sketch)
    require(len(target) == (bound.rho + 1) * N + bound.L + bound.e, "C' has another length")
    ring, plain = matrix(bound.rho, bound.J)
    rest = iter(challenges)
    W = [[0] * N for _ in range(bound.rows)]
    Z = 0
    misc, last = W[-2], W[-1]

    def number(place: int, first: int, count: int, factor: int) -> None:
        for k in range(count):
            misc[place + first + k] = (misc[place + first + k] + (factor << k)) % P

    for i in range(bound.rho + 1):
        chi = [next(rest) for _ in range(N)]
        Z += dot(chi, target[i * N : (i + 1) * N])
        for j in range(bound.J):
            products = [c * a % P for c, a in zip(chi, ring[(i * bound.J + j) * N :][:N], strict=True)]
            for position, weight in enumerate(power_sums(products)):
                W[2 * j][position] += weight
                W[2 * j + 1][position] += 2 * weight
        if i == bound.rho:
            for position, weight in enumerate(power_sums(chi)):
                Z += bound.offset * weight
                for k in range(bound.beta):
                    W[2 * bound.J + k][position] += weight << k
    for index in range(bound.L + bound.e):
        chi1 = next(rest)
        Z += chi1 * target[(bound.rho + 1) * N + index]
        for c in range(bound.J * N):
            weight = chi1 * plain[index * bound.J * N + c]
            W[2 * (c // N)][c % N] += weight
            W[2 * (c // N) + 1][c % N] += 2 * weight
        if index >= bound.L:
            number(192, index - bound.L, 1, chi1)
        else:
            for k in range(bound.limb):
                if bound.limb * index + k < bound.omega:
                    misc[bound.limb * index + k] += chi1 << k
    most, least, share, tau = (next(rest) for _ in range(4))
    number(0, 0, bound.omega, most)
    number(32, 0, bound.omega, most)
    Z += most * bound.M
    number(0, 0, bound.omega, least)
    number(64, 0, bound.omega, -least)
    Z += least * bound.m
    number(0, bound.g, bound.omega - bound.g, share * bound.alpha)
    number(96, 0, 12, -share * bound.M1)
    number(128, 0, 28, -share)
    number(160, 0, 24, tau)
    for i in range(N):
        last[i] = next(rest)
    number(96, 0, 12, -last[0])
    Z += 13 * last[0]
    return [[value % P for value in row] for row in W], tau, Z % P


# ------------------------------------------------------------------------------------------------------- the tree


def leaf(values: Sequence[int], salt: bytes) -> bytes:
    return sha(b"\0" + elements(values) + salt)


def missing(known: Sequence[int]) -> list[int]:
    return [i ^ 1 for i in known if i ^ 1 not in known]


# ---------------------------------------------------------------------------------------------------- the verifier


def verify(statement: Statement, proof: bytes) -> None:
    bound = statement.bound
    lengths = (ROW_DEGREE, SUM_DEGREE - 1, BITS_DEGREE)
    sizes = [32, *(4 * PARTS * length for length in lengths), 4 * QUERIES * bound.rows, 16 * QUERIES]
    require(len(proof) >= sum(sizes), "the proof is too short")
    pieces, place = [], 0
    for size in sizes:
        pieces.append(proof[place : place + size])
        place += size
    root, hashes = pieces[0], proof[place:]
    polynomials = []
    for piece, length in zip(pieces[1:4], lengths, strict=True):
        flat = parse_elements(piece)
        polynomials.append([flat[a * length : (a + 1) * length] for a in range(PARTS)])
    flat = parse_elements(pieces[4])
    columns = [flat[q * bound.rows : (q + 1) * bound.rows] for q in range(QUERIES)]
    challenge = first_challenge(statement, root)
    opened = opened_columns(challenge.key, b"".join(pieces[1:4]))
    x, f = raised([point(column) for column in opened], SUM_DEGREE), np.array(columns, np.int64)
    high = (sum(f[:, 2 * bound.J + bound.kappa + k] << k for k in range(11)) - 1024) % P
    of_range, of_numbers = (high * high - f[:, -1] * f[:, -1]) % P, numbers(bound, f)
    masks = (dots(polynomials[0], x[:, :ROW_DEGREE]) - dots(challenge.gamma, f)) % P
    squares = dots(challenge.delta, f[:, :-1] * (f[:, :-1] - 1) % P)
    bits = (dots(polynomials[2], x[:, :BITS_DEGREE]) * (x[:, N] + 1) - squares) % P
    sums = np.zeros_like(masks)
    for a in range(PARTS):
        _, tau, Z = weights(statement, root, a)
        tail = polynomials[1][a]
        c0 = (Z * pow(N, -1, P) + tail[N - 1] - tail[2 * N - 1]) % P
        of_weights = dots(distinct_polynomials(statement, root, a), x[:, :N])
        linear = (of_weights * of_numbers % P).sum(axis=0)
        sums[a] = (dots([[c0, *tail]], x)[0] - linear - tau * of_range) % P
    known = {}
    for q, column in enumerate(opened):
        values = [*columns[q], *(value for parts in (masks, sums, bits) for value in parts[:, q].tolist())]
        known[column] = leaf(values, pieces[5][16 * q : 16 * (q + 1)])
    for _ in range(12):
        for i in missing(sorted(known)):
            require(len(hashes) >= 32, "the proof is too short")
            known[i], hashes = hashes[:32], hashes[32:]
        known = {i // 2: sha(b"\1" + known[i] + known[i + 1]) for i in known if i % 2 == 0}
    require(not hashes, "the proof is too long")
    require(known[0] == root, "the opened columns are not in the tree")


@cache
def distinct_polynomials(statement: Statement, root: bytes, a: int) -> list[list[int]]:
    """Of the rows of bits of one number the weights are multiples of the first one's: one polynomial for each."""
    bound, W = statement.bound, weights(statement, root, a)[0]
    firsts = [*range(0, 2 * bound.J, 2), 2 * bound.J, bound.rows - 2, bound.rows - 1]
    return [interpolated(W[r]) for r in firsts]


def numbers(bound: Bound, f: Integers) -> Integers:
    """Of rows that are bits of one number, the number: (rows of distinct weights, columns)."""
    of_bits = [f[:, 2 * j] + 2 * f[:, 2 * j + 1] for j in range(bound.J)]
    of_sketch = sum((f[:, 2 * bound.J + k] << k) % P for k in range(bound.beta))
    return np.stack([*of_bits, of_sketch, f[:, -2], f[:, -1]]) % P


# ------------------------------------------------------------------------------------------------------ the prover


def rows_of(bound: Bound, v: Sequence[int], w: int, counts: Sequence[int], s: Sequence[int]) -> list[list[int]]:
    rows = [[s[N * j + i] >> k & 1 for i in range(N)] for j in range(bound.J) for k in range(2)]
    shifted = [value + bound.offset for value in v]
    require(all(0 <= value < 2**bound.beta for value in shifted), "an entry of the sketch is too large")
    rows += [[value >> k & 1 for value in shifted] for k in range(bound.beta)]
    q = bound.alpha * (w // 2**bound.g) // bound.M1
    r = 13 + q
    norm = sum(((value >> bound.kappa) - 1024) ** 2 for value in shifted)
    misc = [0] * N
    for place, value, count in (
        (0, w, bound.omega),
        (32, bound.M - w, bound.omega),
        (64, w - bound.m, bound.omega),
        (96, q, 12),
        (128, bound.alpha * (w // 2**bound.g) - q * bound.M1, 28),
        (160, r * r - norm, 24),
    ):
        require(0 <= value < 2**count, "the statement is false")
        misc[place : place + count] = [value >> k & 1 for k in range(count)]
    misc[192 : 192 + bound.e] = counts
    return [*rows, misc, [r] + [0] * (N - 1)]


def prove(
    statement: Statement, v: Sequence[int], w: int, counts: Sequence[int], s: Sequence[int], secret: bytes
) -> bytes:
    bound = statement.bound
    values = rows_of(bound, v, w, counts, s)
    key = kdf(secret, "norm-proof", statement.digest)
    mu = residues(key, 0, QUERIES * bound.rows)
    f = []
    for r, row in enumerate(values):
        low = interpolated(row) + [0] * QUERIES
        mask = mu[r :: bound.rows]
        add_to(low, mask)
        f.append([c if i < N else mask[i - N] for i, c in enumerate(low)])

    def masks(number: int, length: int) -> list[list[int]]:
        flat = residues(key, number, PARTS * length)
        return [flat[a::PARTS] for a in range(PARTS)]

    proximity, of_sum, of_bits = masks(1, ROW_DEGREE), masks(2, SUM_DEGREE), masks(3, BITS_DEGREE)
    for part in of_sum:
        part[0] = (part[N] - part[2 * N]) % P
    source = stream(key, 4)
    salts = [b"".join(next(source) for _ in range(4)) for _ in range(COLUMNS)]
    vanishing = [(pow(2, N * (c // N + 1), P) * (P - 1) + 1) % P for c in range(COLUMNS)]
    words_of = [evaluated(polynomial) for polynomial in (*f, *proximity, *of_sum)]
    words_of += [[z * value % P for z, value in zip(vanishing, evaluated(part), strict=True)] for part in of_bits]
    tree = [[leaf([word[c] for word in words_of], salts[c]) for c in range(COLUMNS)]]
    while len(tree[-1]) > 1:
        below = tree[-1]
        tree.append([sha(b"\1" + below[i] + below[i + 1]) for i in range(0, len(below), 2)])
    root = tree[-1][0]

    challenge = first_challenge(statement, root)
    high = [sum(f[2 * bound.J + bound.kappa + k][i] << k for k in range(11)) % P for i in range(ROW_DEGREE)]
    high[0] = (high[0] - 1024) % P
    coefficients = b""
    combination, total, bits = [], [], []
    squares = multiply(high, high)
    add_to(squares, multiply(f[-1], f[-1]), -1)
    polynomials_of_bits = []
    for row in f[:-1]:
        square = multiply(row, row)
        add_to(square, row, -1)
        polynomials_of_bits.append(square)
    grouped = [[(a + 2 * b) % P for a, b in zip(f[2 * j], f[2 * j + 1], strict=True)] for j in range(bound.J)]
    grouped.append([sum(f[2 * bound.J + k][i] << k for k in range(bound.beta)) % P for i in range(ROW_DEGREE)])
    grouped += f[-2:]
    for a in range(PARTS):
        part = list(proximity[a])
        for gamma, row in zip(challenge.gamma[a], f, strict=True):
            add_to(part, row, gamma)
        combination.append(part)
        _, tau, _ = weights(statement, root, a)
        part = list(of_sum[a])
        add_to(part, squares, tau)
        for weight, row in zip(distinct_polynomials(statement, root, a), grouped, strict=True):
            add_to(part, multiply(weight, row))
        total.append(part[1:])
        part = [0] * SUM_DEGREE
        for delta, square in zip(challenge.delta[a], polynomials_of_bits, strict=True):
            add_to(part, square, delta)
        bits.append(quotient(part))
        add_to(bits[-1], of_bits[a])
    coefficients = b"".join(elements(part) for polynomial in (combination, total, bits) for part in polynomial)
    opened = opened_columns(challenge.key, coefficients)
    out = [root, coefficients]
    out += [elements([word[c] for word in words_of[: bound.rows]]) for c in opened]
    out += [salts[c] for c in opened]
    known = opened
    for level in tree[:-1]:
        out += [level[i] for i in missing(known)]
        known = sorted({i // 2 for i in known})
    return b"".join(out)


def evaluated(polynomial: Sequence[int]) -> list[int]:
    """The values at all columns: on each coset the powers of a point are ζ_t^i times those of 2^k, X^512 a constant."""
    out = []
    for k in range(1, COLUMNS // N + 1):
        constant = P - pow(2, N * k, P)
        folded = [0] * N
        for start in reversed(range(0, len(polynomial), N)):
            part = polynomial[start : start + N]
            folded = [
                (c * constant + value) % P for c, value in zip(folded, [*part, *[0] * (N - len(part))], strict=True)
            ]
        folded = [c * pow(2, k * i, P) % P for i, c in enumerate(folded)]
        out += at_zetas(folded)
    return out


def quotient(polynomial: Sequence[int]) -> list[int]:
    """Divided by X^512 + 1, which leaves nothing."""
    rest, out = list(polynomial), [0] * (len(polynomial) - N)
    for i in reversed(range(len(out))):
        out[i] = rest[i + N]
        rest[i + N] = 0
        rest[i] = (rest[i] - out[i]) % P
    require(not any(rest), "a row of bits is not of bits")
    return out


# --------------------------------------------------------------------------------------------- the check on the sum


def check_sum(
    bound: Bound,
    sid: bytes,
    commitments: Sequence[bytes],
    X: Sequence[int],
    H: int,
    side: Sequence[int],
    T: Sequence[int],
) -> None:
    n = len(commitments)
    require(1 <= n <= bound.n, "the number of participants")
    require(len(T) == bound.J * N and all(0 <= value <= 3 * n for value in T), "an entry of T' is too large")
    bits = [max(0, min(bound.limb, bound.omega - bound.limb * limb)) for limb in range(bound.L)] + [1] * bound.e
    require(len(side) == len(bits), "the number of sums beside the values")
    require(all(0 <= value <= n * (2**k - 1) for value, k in zip(side, bits, strict=True)), "a limb is too large")
    require(all(0 <= value < 2**27 for value in X), "an entry of X is too large")
    v = sketch(sketch_key(sid), [value - n * H for value in X])
    require(all(abs(value) <= n * bound.offset for value in v), "an entry of the sum's sketch is too large")
    total = [sum(column) % P for column in zip(*map(parse_elements, commitments), strict=True)]
    require(commit_sketch(bound, v, side, T) == total, "the sketch commitments are of something else")
