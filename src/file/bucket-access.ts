/**
 * What one needs to know of a bucket to read or write the bytes of its files: how they are cut, and the key. It is read
 * from the store and remembered for a few seconds. What is missing, or cannot be opened, is never remembered: the next call
 * may find a bucket that somebody has made, and encrypted, meanwhile.
 */
import { HoldfastError } from "../base/index.ts";
import type { Init } from "../base/index.ts";
import { defaultChunkSizes } from "../blob/index.ts";
import type { ChunkSettings } from "../blob/index.ts";
import type { BucketInfo, BucketSettings, FileContent, ReadOptions } from "../view/index.ts";
import { checkSeal, sealOf } from "./content-seal.ts";
import { checkSecret, cipherOf } from "./encryption.ts";
import type { BucketSecret } from "./encryption.ts";
import { described } from "./file-path.ts";
import type { FileRecord } from "./file-record.ts";
import type { FileWork } from "./file-work.ts";

type ContentInit = Init<typeof FileContent>;

const freshMs = 5_000;

interface Opened {
  /** Undefined: there is no such bucket. */
  readonly info: BucketInfo | undefined;
  /** Undefined: it is not encrypted. */
  readonly key: Uint8Array | undefined;
}

export interface BucketWriting {
  readonly settings: ChunkSettings;
  /** The revision that made the bucket, which a put then names; 0: there is none. */
  readonly bucketRevision: number;
}

export class BucketAccess {
  readonly bucket: string;
  readonly #work: FileWork;
  readonly #secret: BucketSecret | undefined;
  readonly #at: number | undefined;
  #known: (Opened & { readonly untilMs: number }) | undefined;

  /** `at`: of which revision the files are that are read; undefined: of the present state. */
  constructor(work: FileWork, bucket: string, secret: BucketSecret | undefined, at: number | undefined) {
    this.#work = work;
    this.bucket = bucket;
    this.#at = at;
    this.#secret = secret?.passphrase === undefined && secret?.key === undefined ? undefined : secret;
    if (this.#secret !== undefined) checkSecret(this.#secret);
  }

  /** How to write; a bucket that is missing is made by the write, with the default settings. */
  async writing(signal?: AbortSignal): Promise<BucketWriting> {
    const { info, key } = await this.#opened({ signal });
    const sizes = info?.settings ?? { chunkSizeMin: 0, chunkSizeAverage: 0, chunkSizeMax: 0 };
    const chunks = {
      sizeMin: sizes.chunkSizeMin === 0 ? defaultChunkSizes.sizeMin : sizes.chunkSizeMin,
      sizeAverage: sizes.chunkSizeAverage === 0 ? defaultChunkSizes.sizeAverage : sizes.chunkSizeAverage,
      sizeMax: sizes.chunkSizeMax === 0 ? defaultChunkSizes.sizeMax : sizes.chunkSizeMax,
      compress: info?.settings.uncompressed !== true,
      key,
    };
    return { settings: chunks, bucketRevision: info?.createRevision ?? 0 };
  }

  /**
   * To be asked when a put was refused: whether its bytes were made for another bucket than the one that is there now. What
   * was known of the bucket is forgotten.
   */
  async isStale(bucketRevision: number, signal?: AbortSignal): Promise<boolean> {
    this.#known = undefined;
    const info = await this.#read({ signal });
    if (bucketRevision !== 0) return info?.createRevision !== bucketRevision;
    return info !== undefined && info.settings.encryption.length > 0;
  }

  /**
   * The key for reading; undefined when the bucket is not encrypted. `corrupt` when it is, and nobody with the key vouches
   * for the content.
   */
  async reading({ pathBytes, stored }: FileRecord, options: ReadOptions): Promise<Uint8Array | undefined> {
    const { key } = await this.#opened(options);
    if (key === undefined) return undefined;
    checkSeal(cipherOf(this.#work.parts.env), key, stored.content, described(this.bucket, pathBytes));
    return key;
  }

  /** The content as the bucket takes it: a link into an encrypted one is vouched for. Files are, where they are uploaded. */
  async sealed(content: ContentInit, signal?: AbortSignal): Promise<ContentInit> {
    if (content.type !== "link") return content;
    const { key } = await this.#opened({ signal });
    return key === undefined ? content : { ...content, seal: this.seal(key, content) };
  }

  /** What vouches for a content in this bucket. */
  seal(key: Uint8Array, content: ContentInit): Uint8Array {
    return sealOf(cipherOf(this.#work.parts.env), key, content);
  }

  async #opened(options: ReadOptions): Promise<Opened> {
    const { clock } = this.#work.parts.env;
    const nowMs = clock.monotonicMs();
    if (this.#known !== undefined && nowMs < this.#known.untilMs) return this.#known;
    const info = await this.#read(options);
    const opened = { info, key: await this.#key(info?.settings) };
    this.#known = info === undefined ? undefined : { ...opened, untilMs: nowMs + freshMs };
    return opened;
  }

  async #read(options: ReadOptions): Promise<BucketInfo | undefined> {
    const { parts } = this.#work;
    let info = await parts.source.bucket(this.bucket, options);
    // As long as it is the same bucket its key is the same, and what opens it is what opens it now.
    if (this.#at !== undefined && (info === undefined || info.createRevision > this.#at)) {
      info = await parts.source.bucket(this.bucket, options, this.#at);
    }
    return info;
  }

  async #key(settings: BucketSettings | undefined): Promise<Uint8Array | undefined> {
    if (settings !== undefined && settings.encryption.length > 0) {
      return this.#work.keys.open(this.bucket, settings.encryption, this.#secret);
    }
    if (this.#secret === undefined) return undefined;
    // Else what the caller believes to be encrypted would be written, or taken for genuine, as it is.
    if (settings === undefined) {
      const remedy = "make it with buckets.create(name, { passphrase or key })";
      throw new HoldfastError("notFound", `bucket ${this.bucket} does not exist, so its key fits nothing: ${remedy}`);
    }
    throw new HoldfastError(
      "invalid",
      `bucket ${this.bucket} is not encrypted, but a passphrase or key was given; somebody may have made it anew: leave the secret out if its files may be in the clear`,
    );
  }
}
