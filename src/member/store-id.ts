/** Which store this is, for those who connect to it: so that none is taken for another that stood at its address. */
import { concatBytes, toHex, utf8Encode } from "../base/index.ts";
import type { Env } from "../base/index.ts";

const idSize = 16;

/**
 * In hexadecimal. Made from the seed of the store's tree, which all members of a cluster share and which stays when a
 * store on its own becomes a cluster; the seed itself is nothing for clients, who could choose bad keys by it.
 */
export function storeIdOf({ digest }: Pick<Env, "digest">, seed: Uint8Array): string {
  return toHex(digest.sha256(concatBytes([utf8Encode("holdfast store"), seed])).subarray(0, idSize));
}
