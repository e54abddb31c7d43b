/**
 * Blobs over the network: the contract, and the half of the member that has the store. Reading only.
 *
 * A blob may be larger than a message, so blobs travel in parts: every part says which of the wanted hashes it belongs to
 * and how large the whole blob is; the parts of one blob follow each other, and small blobs share a message.
 */
import { bytes, embed, HoldfastError, message, repeated, toHex, uint32 } from "../base/index.ts";
import type { Env, Infer } from "../base/index.ts";
import { contract, implement, serverStream } from "../rpc/index.ts";
import type { Service } from "../rpc/index.ts";
import { PartGatherer } from "./blob-parts.ts";
import { checkHash } from "./check.ts";
import type { BlobStore, Hash } from "./store.ts";

const GetRequest = message("holdfast.blob.GetRequest", { hashes: repeated(bytes(1)) });
const BlobPart = message("holdfast.blob.BlobPart", {
  /** Which of the request's hashes; never smaller than in the part before. */
  index: uint32(1),
  /** Bytes of the whole blob. */
  size: uint32(2),
  bytes: bytes(3),
});
const GetResponse = message("holdfast.blob.GetResponse", { parts: repeated(embed(1, BlobPart)) });

export const BlobService = contract("holdfast.blob.Blobs", {
  /** Those of the blobs that are here, in the order of the request; of others there is no part. */
  get: serverStream(1, GetRequest, GetResponse),
});

/** Hashes of one request. */
export const getCountMax = 1_024;
/**
 * Serves the blobs of a store. One blob at a time is in memory for each call. A damaged blob is passed over like an
 * absent one, since whoever asks may have it from another member; the log says it.
 */
export function blobService(env: Pick<Env, "logger">, store: Pick<BlobStore, "get">): Service {
  return implement(BlobService, {
    async *get({ hashes }, { signal, peer }) {
      checkHashes(hashes, getCountMax);
      const gatherer = new PartGatherer<Infer<typeof BlobPart>>();
      for (const [index, hash] of hashes.entries()) {
        if (signal.aborted) return;
        const blob = await sound(env, hash, peer, () => store.get(hash));
        if (blob === undefined) continue;
        const part = (some: Uint8Array) => ({ index, size: blob.length, bytes: some });
        for (const parts of gatherer.add(blob, part)) yield { parts };
      }
      for (const parts of gatherer.rest()) yield { parts };
    },
  });
}

/** Fails with `invalid` on what nobody may ask for at once. */
export function checkHashes(hashes: readonly Hash[], countMax: number): void {
  if (hashes.length > countMax) {
    throw new HoldfastError("invalid", `${hashes.length} blobs were asked for at once; the limit is ${countMax}`);
  }
  for (const hash of hashes) checkHash(hash);
}

/** What `get` gives; undefined, and a line in the log, if it is damaged. */
export async function sound<T>(
  env: Pick<Env, "logger">,
  hash: Hash,
  peer: string,
  get: () => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await get();
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
    env.logger.log("error", "a blob that another member asked for is damaged", {
      blob: toHex(hash),
      peer,
      error: error.message,
    });
    return undefined;
  }
}
