/**
 * The blobs of another member, to be read.
 *
 * 1. What is given has the hash that was asked for. A member that sends anything else is `corrupt`, by its name.
 */
import { equalBytes, HoldfastError, limits, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { RpcClient, Stub } from "../rpc/index.ts";
import { BlobService, getCountMax } from "./service.ts";
import type { Hash } from "./store.ts";

/** One of the blobs that were asked for. */
export interface FoundBlob {
  /** Its place among the hashes of the call. */
  readonly index: number;
  /** The content, verified. The array is the caller's. */
  readonly bytes: Uint8Array;
}

/** Somewhere else that may have blobs. */
export interface BlobSource {
  /** For messages: whose blobs they are. */
  readonly name: string;
  /**
   * Those of the blobs that the source has, each once, as they come; what has not come when the iteration ends, it does
   * not have. `corrupt` when the source sends other bytes than were asked for; `unavailable` when it cannot be reached;
   * `cancelled` as soon as `signal` aborts.
   */
  get(hashes: readonly Hash[], options?: SourceOptions): AsyncIterable<FoundBlob>;
}

export interface SourceOptions {
  readonly signal?: AbortSignal;
  /** Called when a part of a blob has come: a large one may take long. */
  readonly heard?: () => void;
}

export class RemoteBlobs implements BlobSource {
  readonly name: string;
  readonly #env: Pick<Env, "digest">;
  readonly #stub: Stub<(typeof BlobService)["methods"]>;

  /** `name` says in messages whose blobs they are. The client stays the caller's to close. */
  constructor(env: Pick<Env, "digest">, client: Pick<RpcClient, "use">, name: string) {
    this.name = name;
    this.#env = env;
    this.#stub = client.use(BlobService);
  }

  async *get(hashes: readonly Hash[], options: SourceOptions = {}): AsyncGenerator<FoundBlob, void, undefined> {
    for (let begin = 0; begin < hashes.length; begin += getCountMax) {
      const wanted = hashes.slice(begin, begin + getCountMax);
      for await (const { index, bytes } of this.#getSome(wanted, options)) yield { index: begin + index, bytes };
    }
  }

  async *#getSome(
    hashes: readonly Hash[],
    { signal, heard }: SourceOptions,
  ): AsyncGenerator<FoundBlob, void, undefined> {
    /** The blob of which parts have come, and how many bytes of it. */
    let whole: Uint8Array | undefined;
    let filled = 0;
    let index = -1;
    for await (const { parts } of this.#stub.get({ hashes }, signal === undefined ? {} : { signal })) {
      heard?.();
      for (const part of parts) {
        if (whole === undefined) {
          this.#checkFirst(part.index, part.size, index, hashes);
          whole = new Uint8Array(part.size);
          filled = 0;
          index = part.index;
        }
        if (part.index !== index || part.size !== whole.length || filled + part.bytes.length > whole.length) {
          throw this.#corrupt("sent parts that do not make up one blob", hashes[index]);
        }
        // Copied, so that a small blob that is kept does not keep the message that it came in.
        whole.set(part.bytes, filled);
        filled += part.bytes.length;
        if (filled < whole.length && part.bytes.length > 0) continue;
        if (filled < whole.length) throw this.#corrupt("sent an empty part", hashes[index]);
        const hash = hashes[index] as Hash; // The first part's index was checked.
        if (!equalBytes(this.#env.digest.sha256(whole), hash)) {
          throw this.#corrupt(`sent ${whole.length} bytes that do not have the hash`, hash);
        }
        yield { index, bytes: whole };
        whole = undefined;
      }
    }
    if (whole !== undefined) throw this.#corrupt("ended in the middle", hashes[index]);
  }

  /** Checked before anything is allocated: nobody says twice, or of what was not asked for, how large it is. */
  #checkFirst(index: number, size: number, before: number, hashes: readonly Hash[]): void {
    if (index <= before || index >= hashes.length) {
      throw this.#corrupt(`sent blob ${index} of ${hashes.length} behind blob ${before}`, hashes[index]);
    }
    if (size > limits.blobSizeMax) {
      throw this.#corrupt(
        `announced ${size} bytes; the limit is ${limits.blobSizeMax} (limits.blobSizeMax)`,
        hashes[index],
      );
    }
  }

  #corrupt(what: string, hash: Hash | undefined): HoldfastError {
    const blob = hash === undefined ? "" : ` (blob ${toHex(hash)})`;
    return new HoldfastError("corrupt", `${this.name} ${what}${blob}; ask another member for it`);
  }
}
