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
import { hashSize } from "./check.ts";
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
/** Bytes of blobs after which a message is sent, and the longest part: on a slow line, too, one comes every few seconds. */
const messageSizeMax = 65_536;
/** What a part takes beside its bytes, so that many empty blobs do not make a message without end. */
const partOverheadSize = 16;

/**
 * Serves the blobs of a store. One blob at a time is in memory for each call. A damaged blob is passed over like an
 * absent one, since whoever asks may have it from another member; the log says it.
 */
export function blobService(env: Pick<Env, "logger">, store: Pick<BlobStore, "get">): Service {
  return implement(BlobService, {
    async *get({ hashes }, { signal, peer }) {
      checkHashes(hashes);
      let parts: Infer<typeof BlobPart>[] = [];
      let size = 0;
      for (const [index, hash] of hashes.entries()) {
        if (signal.aborted) return;
        const blob = await soundBlob(env, store, hash, peer);
        if (blob === undefined) continue;
        let at = 0;
        do {
          const part = blob.subarray(at, at + messageSizeMax);
          if (size > 0 && size + part.length > messageSizeMax) {
            yield { parts };
            parts = [];
            size = 0;
          }
          parts.push({ index, size: blob.length, bytes: part });
          size += part.length + partOverheadSize;
          at += part.length;
        } while (at < blob.length);
      }
      if (parts.length > 0) yield { parts };
    },
  });
}

function checkHashes(hashes: readonly Hash[]): void {
  if (hashes.length > getCountMax) {
    throw new HoldfastError("invalid", `${hashes.length} blobs were asked for at once; the limit is ${getCountMax}`);
  }
  for (const hash of hashes) {
    if (hash.length === hashSize) continue;
    throw new HoldfastError("invalid", `a blob's hash is ${hash.length} bytes; a SHA-256 has ${hashSize}`);
  }
}

async function soundBlob(
  env: Pick<Env, "logger">,
  store: Pick<BlobStore, "get">,
  hash: Hash,
  peer: string,
): Promise<Uint8Array | undefined> {
  try {
    return await store.get(hash);
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
