/**
 * File chunks over the network: the contract, and the half of the member that has the store. Chunks come and go in their
 * stored form, in parts (`stored-parts.ts`).
 *
 * 1. Nothing is kept that does not have the hash it is put under: every blob is checked before the store gets it.
 * 2. `touch` and `put` look at the store, and change it, at the revision that the caller names or later. So a collection
 *    here knows the upload that they belong to (`collection.ts`).
 * 3. Every answer says which life of which member it is of: a number that is random for each service. What was put in one
 *    life and is synced in another is perhaps not durable, and `RemoteChunks` sees that.
 * 4. Of what is put, at most 256 MiB are in memory in all calls together; past that a put fails with `exhausted`. Within a
 *    call the next blobs are received while some are being written; then its sender waits.
 */
import { bytes, embed, message, repeated, uint64 } from "../base/index.ts";
import type { Env, Init } from "../base/index.ts";
import { clientStream, contract, implement, serverStream, unary } from "../rpc/index.ts";
import type { Service } from "../rpc/index.ts";
import { PartGatherer } from "./blob-parts.ts";
import { ChunkIntake, HeldChunks, PlainCheck } from "./chunk-intake.ts";
import { checkHashes, getCountMax, sound } from "./service.ts";
import { StoredPart, storedPart } from "./stored-parts.ts";
import type { Hash, NamedBlob, StoredBlob } from "./store.ts";

const TouchRequest = message("holdfast.blob.TouchRequest", {
  hashes: repeated(bytes(1)),
  /** 0: any. */
  atLeast: uint64(2),
});
const TouchResponse = message("holdfast.blob.TouchResponse", {
  /** Bit i % 8 of byte i / 8 says whether blob i is there. */
  there: bytes(1),
  life: bytes(2),
});
const PutRequest = message("holdfast.blob.PutRequest", {
  /** In the first message. */
  atLeast: uint64(1),
  parts: repeated(embed(2, StoredPart)),
});
const PutResponse = message("holdfast.blob.PutResponse", { life: bytes(1) });
const GetRequest = message("holdfast.blob.GetStoredRequest", { hashes: repeated(bytes(1)) });
const GetResponse = message("holdfast.blob.GetStoredResponse", { parts: repeated(embed(1, StoredPart)) });
const SyncRequest = message("holdfast.blob.SyncRequest", {});
const SyncResponse = message("holdfast.blob.SyncResponse", { life: bytes(1) });

const methods = {
  /** Which of the blobs are there; they count as put now. Undone by nothing but a collection after the upload. */
  touch: unary(1, TouchRequest, TouchResponse),
  /** The answer comes when all can be found; durable after the next sync in the same life. */
  put: clientStream(2, PutRequest, PutResponse),
  /** Those of the blobs that are there, in the order of the request; of others there is no part. */
  get: serverStream(3, GetRequest, GetResponse),
  /** Makes durable what was answered before. */
  sync: unary(4, SyncRequest, SyncResponse),
};

/** For clients: of the chunks of the whole store, wherever they are. */
export const ChunkService = contract("holdfast.blob.Chunks", methods);
/** For other members: of the chunks that this member itself has. */
export const PeerChunkService = contract("holdfast.blob.PeerChunks", methods);

/** Hashes of one touch. */
export const touchCountMax = 4_096;
const lifeSize = 8;

/** The chunks that are served. A `ChunkStore` is such. */
export interface ServedChunks {
  touch(hashes: readonly Hash[], atLeast: number, signal?: AbortSignal): Promise<readonly boolean[]>;
  putStored(blobs: readonly NamedBlob[]): Promise<void>;
  getStored(hash: Hash): Promise<StoredBlob | undefined>;
  sync(): Promise<void>;
}

export interface ChunkServiceOptions {
  /** Resolves when the state here has reached a revision that somebody was told. */
  readonly reach: (revision: number, signal: AbortSignal) => Promise<void>;
  /** Fails with `corrupt` unless the blob is what its name says. Default: it is done in place, giving way now and then. */
  readonly check?: ((named: NamedBlob) => Promise<void>) | undefined;
  /** Default: `ChunkService`. */
  readonly contract?: typeof ChunkService | undefined;
}

type ServiceEnv = Pick<Env, "clock" | "digest" | "logger" | "random">;

/** A damaged blob is passed over like an absent one by `get`; the log says it. */
export function chunkService(env: ServiceEnv, chunks: ServedChunks, options: ChunkServiceOptions): Service {
  const life = env.random.bytes(lifeSize);
  const plain = new PlainCheck(env);
  const check = options.check ?? ((named: NamedBlob) => plain.check(named));
  const reach = async (revision: number, signal: AbortSignal) => {
    if (revision > 0) await options.reach(revision, signal);
  };
  const held = new HeldChunks();
  return implement(options.contract ?? ChunkService, {
    async touch({ hashes, atLeast }, { signal }) {
      checkHashes(hashes, touchCountMax);
      await reach(atLeast, signal);
      return { there: toBits(await chunks.touch(hashes, atLeast, signal)), life };
    },

    async put(requests, { signal }) {
      const intake = new ChunkIntake(chunks, check, held, signal);
      let reached = false;
      try {
        for await (const { atLeast, parts } of requests) {
          if (!reached) {
            await reach(atLeast, signal);
            // It may have to be said to others, who are given them too.
            await chunks.touch([], atLeast, signal);
          }
          reached = true;
          await intake.take(parts);
        }
        await intake.end();
      } finally {
        intake.release();
      }
      return { life };
    },

    async *get({ hashes }, { signal, peer }) {
      checkHashes(hashes, getCountMax);
      const gatherer = new PartGatherer<Init<typeof StoredPart>>();
      for (const [index, hash] of hashes.entries()) {
        if (signal.aborted) return;
        const blob = await sound(env, hash, peer, () => chunks.getStored(hash));
        if (blob === undefined) continue;
        for (const parts of gatherer.add(blob.bytes, storedPart(blob, { index }))) yield { parts };
      }
      for (const parts of gatherer.rest()) yield { parts };
    },

    async sync() {
      await chunks.sync();
      return { life };
    },
  });
}

function toBits(there: readonly boolean[]): Uint8Array {
  const bits = new Uint8Array(Math.ceil(there.length / 8));
  for (const [index, one] of there.entries()) {
    if (one) bits[index >>> 3] = (bits[index >>> 3] as number) | (1 << (index & 7));
  }
  return bits;
}
