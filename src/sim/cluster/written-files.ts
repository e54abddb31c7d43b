/** The files that a workload writes: whoever reads one can tell whether it is whole, and of no other. */
import { equalBytes } from "../../base/index.ts";
import { Prng } from "../prng.ts";

export const bucketName = "f";

/** Of two sizes with the same seed the shorter one is the beginning of the longer, but for the first line. */
export function fileBytes(seed: number, size: number): Uint8Array {
  const head = new TextEncoder().encode(`${seed} ${size}\n`);
  const bytes = new Uint8Array(head.length + size);
  bytes.set(head);
  bytes.set(new Prng(`file ${seed}`).bytes(size), head.length);
  return bytes;
}

/** Whether a file is one that `fileBytes` has made, as a whole. */
export function isWhole(bytes: Uint8Array): boolean {
  const [seed, size] = new TextDecoder()
    .decode(bytes.subarray(0, bytes.indexOf(10)))
    .split(" ")
    .map(Number);
  return seed !== undefined && size !== undefined && equalBytes(bytes, fileBytes(seed, size));
}
