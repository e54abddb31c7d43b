/** The slow twin of the chunker, made from the words in `docs/format.md` alone; and the data that tests cut. */
import type { ChunkSizes } from "./chunker.ts";

/** The sizes of all chunks of a file. */
export function naiveSizes(data: Uint8Array, { sizeMin, sizeAverage, sizeMax }: ChunkSizes, gear: ArrayLike<number>) {
  const normalSize = Math.min(sizeMax, sizeMin + Math.max(0, Math.floor((9 * sizeAverage - 12 * sizeMin) / 10)));
  const below = (place: number, chance: number) => hashBefore(data, place, gear) + 2 ** 31 < chance;
  const sizes: number[] = [];
  for (let start = 0; start < data.length;) {
    const rest = data.length - start;
    let size = Math.min(sizeMin, rest);
    for (; size < rest && size < sizeMax; size++) {
      if (below(start + size, Math.floor((size < normalSize ? 2 ** 30 : 2 ** 34) / sizeAverage))) break;
    }
    sizes.push(size);
    start += size;
  }
  return sizes;
}

/** A signed number of 32 bits: the sum of the numbers of the last 32 bytes, each shifted by how long ago it was. */
function hashBefore(data: Uint8Array, place: number, gear: ArrayLike<number>): number {
  let sum = 0n;
  for (let ago = 0; ago < 32; ago++) sum += BigInt(gear[data[place - 1 - ago]!]!) << BigInt(ago);
  return Number(BigInt.asIntN(32, sum));
}

/** Bytes that look random, the same for the same seed (xorshift, Marsaglia 2003). */
export function noise(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let x = Math.imul(seed + 1, 0x9e3779b1) | 1;
  for (let index = 0; index < size; index++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[index] = x >>> 11;
  }
  return bytes;
}

/** Text that zstd makes smaller. */
export function prose(size: number, seed: number): Uint8Array {
  const bytes = noise(size, seed);
  for (let index = 0; index < size; index++) bytes[index] = 97 + (bytes[index]! & 7);
  return bytes;
}
