/**
 * The slow twin of the tree: all pages of a state, built from its sorted entries alone by the words of docs/format.md.
 * It shares no code with the tree, neither hash nor encoding.
 */
import { createHash } from "node:crypto";
import { hex } from "./fixture.suite.ts";

/** HalfSipHash with a 32-bit tag, in the words of its definition; the tree uses 1 and 3 rounds, the published vectors 2 and 4. */
export function halfSipHash(key: Uint8Array, input: Uint8Array, rounds: number, finalRounds: number): number {
  const words = new DataView(key.buffer, key.byteOffset, 8);
  const [k0, k1] = [words.getUint32(0, true), words.getUint32(4, true)];
  const v = Uint32Array.of(k0, k1, 0x6c796765 ^ k0, 0x74656462 ^ k1);
  const turn = (i: number, by: number) => (v[i] = (v[i]! << by) | (v[i]! >>> (32 - by)));
  const add = (i: number, j: number) => (v[i] = v[i]! + v[j]!);
  const mix = (i: number, j: number) => (v[i] = v[i]! ^ v[j]!);
  const round = () => {
    add(0, 1);
    turn(1, 5);
    mix(1, 0);
    turn(0, 16);
    add(2, 3);
    turn(3, 8);
    mix(3, 2);
    add(0, 3);
    turn(3, 7);
    mix(3, 0);
    add(2, 1);
    turn(1, 13);
    mix(1, 2);
    turn(2, 16);
  };
  const padded = new Uint8Array((input.length & ~3) + 4);
  padded.set(input);
  padded[padded.length - 1] = input.length;
  const view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 4) {
    const word = view.getUint32(at, true);
    v[3]! ^= word;
    for (let i = 0; i < rounds; i++) round();
    v[0]! ^= word;
  }
  v[2]! ^= 0xff;
  for (let i = 0; i < finalRounds; i++) round();
  return (v[1]! ^ v[3]!) >>> 0;
}

export function naiveLevel(seed: Uint8Array, key: Uint8Array): number {
  if (key.length === 0) return 0;
  const hash = halfSipHash(seed.subarray(0, 8), Buffer.concat([seed.subarray(8), key]), 1, 3);
  let zeros = 0;
  while (zeros < 32 && ((hash >>> zeros) & 1) === 0) zeros++;
  return zeros < 5 ? 0 : 1 + Math.floor((zeros - 5) / 5);
}

export interface NaiveEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface NaiveTree {
  /** In hexadecimal; null for the empty state. */
  readonly root: string | null;
  /** All blobs of the state. */
  readonly blobs: Map<string, Uint8Array>;
}

interface Node {
  readonly start: Uint8Array;
  readonly hash: Uint8Array;
  readonly entries: number;
  readonly size: number;
  readonly large: number;
}

/** `entries` in ascending order. */
export function naiveTree(seed: Uint8Array, entries: readonly NaiveEntry[]): NaiveTree {
  const blobs = new Map<string, Uint8Array>();
  if (entries.length === 0) return { root: null, blobs };
  const keep = (bytes: Uint8Array): Uint8Array => {
    const hash = new Uint8Array(createHash("sha256").update(bytes).digest());
    if (blobs.has(hex(hash))) throw new Error("the same blob twice in one state");
    blobs.set(hex(hash), bytes);
    return hash;
  };
  const page = (level: number, parts: readonly Uint8Array[]) =>
    keep(Buffer.concat([Buffer.from("HFTP"), u8(1), u8(level), little(parts.length, 4), seed, ...parts]));

  let nodes: Node[] = split(
    entries,
    (entry) => entry.key,
    (key) => naiveLevel(seed, key) > 0,
  ).map(({ start, items }) => {
    const parts = items.map(({ key, value }) => {
      if (value.length <= 2_048) return Buffer.concat([little(key.length, 2), little(value.length, 2), key, value]);
      const blob = Buffer.concat([Buffer.from("HFTV"), u8(1), seed, little(key.length, 2), key, value]);
      return Buffer.concat([little(key.length, 2), little(0xffff, 2), key, little(value.length, 4), keep(blob)]);
    });
    return {
      start,
      hash: page(0, parts),
      entries: items.length,
      size: items.reduce((sum, { key, value }) => sum + key.length + value.length, 0),
      large: items.filter(({ value }) => value.length > 2_048).length,
    };
  });
  const height = Math.max(...entries.map(({ key }) => naiveLevel(seed, key)));
  for (let level = 1; level <= height; level++) {
    const begins = (key: Uint8Array) => naiveLevel(seed, key) > level;
    // The first node begins before every key; the others begin with theirs.
    nodes = split(nodes.slice(1), (node) => node.start, begins, nodes[0]).map(({ start, items }) => {
      const parts = items.map((node) =>
        Buffer.concat([
          little(node.start.length, 2),
          little(node.entries, 6),
          little(node.size, 6),
          little(node.large, 6),
          node.hash,
          node.start,
        ]),
      );
      const sum = (pick: (node: Node) => number) => items.reduce((total, node) => total + pick(node), 0);
      return {
        start,
        hash: page(level, parts),
        entries: sum((node) => node.entries),
        size: sum((node) => node.size),
        large: sum((node) => node.large),
      };
    });
  }
  if (nodes.length !== 1) throw new Error("the highest level has one page");
  return { root: hex(nodes[0]!.hash), blobs };
}

/** Groups, of which the first begins before every key, a further one at each key that `begins` one. */
function split<T>(
  items: readonly T[],
  keyOf: (item: T) => Uint8Array,
  begins: (key: Uint8Array) => boolean,
  first?: T,
): { readonly start: Uint8Array; readonly items: T[] }[] {
  const groups: { readonly start: Uint8Array; readonly items: T[] }[] = [
    { start: new Uint8Array(0), items: first === undefined ? [] : [first] },
  ];
  for (const item of items) {
    if (begins(keyOf(item))) groups.push({ start: keyOf(item), items: [] });
    groups.at(-1)!.items.push(item);
  }
  return groups;
}

function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

function little(value: number, size: number): Uint8Array {
  const bytes = Buffer.alloc(size);
  bytes.writeUIntLE(value, 0, size);
  return bytes;
}
