/** The buckets of a store, as a user sees them: how files are cut and kept, and who can read them. */
import { HoldfastError } from "../base/index.ts";
import type { Init, Revision } from "../base/index.ts";
import { checkChunkSizes, defaultChunkSizes } from "../blob/index.ts";
import type { BucketInfo, BucketSettings, FileOperation, ReadOptions } from "../view/index.ts";
import { changeEncryption, checkSecret, makeEncryption, secretOf } from "./encryption.ts";
import type { BucketSecret } from "./encryption.ts";
import { checkedBucket } from "./file-path.ts";
import { checkReading } from "./file-request.ts";
import type { FileWork } from "./file-work.ts";

export interface BucketOptions {
  /** Bytes: 4,096 ≤ min ≤ average ≤ max ≤ 8 MiB. Files that are there already stay as they were cut. */
  readonly chunkSizeMin?: number | undefined;
  readonly chunkSizeAverage?: number | undefined;
  readonly chunkSizeMax?: number | undefined;
  /** Compress chunks where that helps. Default true. */
  readonly compress?: boolean | undefined;
  /** How long superseded and deleted versions stay. Default 7 days; 0: they go at once; Infinity: as long as the count allows. */
  readonly keepMs?: number | undefined;
  /** And at most so many of one path. Default 1,000; Infinity: any number. */
  readonly keepCountMax?: number | undefined;
}

/** A bucket as it stands. */
export interface Bucket extends Required<BucketOptions> {
  readonly name: string;
  readonly chunkSizeMin: number;
  readonly chunkSizeAverage: number;
  readonly chunkSizeMax: number;
  readonly compress: boolean;
  readonly keepMs: number;
  readonly keepCountMax: number;
  /** What opens it. */
  readonly encryption: "none" | "passphrase" | "key";
  readonly createRevision: number;
  /** Files, folders and links that there are now. */
  readonly fileCount: number;
  /** The bucket is readable as it was at this revision and later. */
  readonly historyRevision: number;
}

type SetBucket = Extract<NonNullable<FileOperation["operation"]>, { case: "setBucket" }>["value"];

export interface BucketCallOptions {
  readonly signal?: AbortSignal | undefined;
}

const keepMsDefault = 604_800_000;
const keepCountDefault = 1_000;
const uint32Max = 0xffff_ffff;
const attemptCountMax = 8;

export function toBucket({ name, settings, createRevision, fileCount, historyRevision }: BucketInfo): Bucket {
  const { chunkSizeMin, chunkSizeAverage, chunkSizeMax, uncompressed, keepMs, keepCountMax, encryption } = settings;
  return {
    name,
    chunkSizeMin: chunkSizeMin === 0 ? defaultChunkSizes.sizeMin : chunkSizeMin,
    chunkSizeAverage: chunkSizeAverage === 0 ? defaultChunkSizes.sizeAverage : chunkSizeAverage,
    chunkSizeMax: chunkSizeMax === 0 ? defaultChunkSizes.sizeMax : chunkSizeMax,
    compress: !uncompressed,
    keepMs: keepMs === Number.MAX_SAFE_INTEGER ? Infinity : keepMs,
    keepCountMax: keepCountMax === uint32Max ? Infinity : keepCountMax,
    encryption: secretOf(name, encryption),
    createRevision,
    fileCount,
    historyRevision,
  };
}

export class Buckets {
  readonly #work: FileWork;

  constructor(work: FileWork) {
    this.#work = work;
  }

  /** In the order of their names. */
  async list(options: ReadOptions = {}): Promise<Bucket[]> {
    checkReading(options);
    return (await this.#work.parts.source.buckets(options)).map((info) => toBucket(info));
  }

  /** Undefined if it does not exist. */
  async get(name: string, options: ReadOptions = {}): Promise<Bucket | undefined> {
    checkReading(options);
    const info = await this.#work.parts.source.bucket(checkedBucket(name), options);
    return info === undefined ? undefined : toBucket(info);
  }

  /**
   * Makes a bucket; `exists` if it is there. With a passphrase or a key its files are encrypted before they leave this
   * process, and nobody can read them who does not have it: when it is lost, they are. A bucket that is made by its first
   * file has the default settings and is not encrypted; one cannot be encrypted later.
   */
  async create(name: string, options: BucketOptions & BucketSecret & BucketCallOptions = {}): Promise<Revision> {
    const { passphrase, key, signal } = options;
    const bucket = checkedBucket(name);
    const settings = settingsOf(options, undefined);
    const isEncrypted = passphrase !== undefined || key !== undefined;
    if (isEncrypted) checkSecret({ passphrase, key });
    const encryption = isEncrypted ? await makeEncryption(this.#work.parts.env, { passphrase, key }) : undefined;
    return this.#set({ bucket, settings: { ...settings, encryption }, mustBeNew: true }, signal);
  }

  async #set(value: SetBucket, signal: AbortSignal | undefined): Promise<Revision> {
    return (await this.#work.propose([{ operation: { case: "setBucket", value } }], signal)).revision;
  }

  /**
   * Changes what is given and leaves the rest; `notFound` if there is no such bucket, `conflict` if it was deleted, and
   * another one made, meanwhile.
   */
  async set(name: string, options: BucketOptions & BucketCallOptions): Promise<Revision> {
    return this.#change(checkedBucket(name), options.signal, async (before) => settingsOf(options, before));
  }

  /** What others change at the same time is not lost: `change` is then asked again. */
  async #change(
    bucket: string,
    signal: AbortSignal | undefined,
    change: (before: BucketSettings) => Promise<Init<typeof BucketSettings>>,
  ): Promise<Revision> {
    let made: number | undefined;
    for (let attempt = 1; ; attempt++) {
      const { settings: before, createRevision } = await this.#existing(bucket, signal);
      made ??= createRevision;
      const settings = await change(before);
      try {
        return await this.#set({ bucket, settings, before, bucketRevision: made }, signal);
      } catch (error) {
        const isRefused = error instanceof HoldfastError && error.code === "conflict" && !error.maybe;
        if (!isRefused || createRevision !== made || attempt === attemptCountMax) throw error;
      }
    }
  }

  async #existing(name: string, signal: AbortSignal | undefined): Promise<BucketInfo> {
    const info = await this.#work.parts.source.bucket(name, { signal });
    if (info !== undefined) return info;
    throw new HoldfastError("notFound", `bucket ${name} does not exist`);
  }

  /**
   * Another passphrase or key for an encrypted bucket. What is stored stays as it is: whoever has read the bucket with the
   * old one may have kept what opens it. `denied` if `from` is not the right one.
   */
  async changeSecret(
    name: string,
    from: BucketSecret,
    to: BucketSecret,
    { signal }: BucketCallOptions = {},
  ): Promise<Revision> {
    const bucket = checkedBucket(name);
    return this.#change(bucket, signal, async (settings) => {
      if (settings.encryption.length === 0) {
        throw new HoldfastError("invalid", `bucket ${bucket} is not encrypted; that is decided when a bucket is made`);
      }
      const encryption = await changeEncryption(this.#work.parts.env, bucket, settings.encryption, from, to);
      return { ...settings, encryption };
    });
  }

  /** Deletes a bucket with its old versions. `conflict` while it has files; that there is none is `notFound`. */
  async delete(name: string, { signal }: BucketCallOptions = {}): Promise<Revision> {
    const value = { bucket: checkedBucket(name) };
    return (await this.#work.propose([{ operation: { case: "deleteBucket", value } }], signal)).revision;
  }
}

function settingsOf(options: BucketOptions, before: BucketSettings | undefined): Init<typeof BucketSettings> {
  const settings = {
    chunkSizeMin: options.chunkSizeMin ?? before?.chunkSizeMin ?? 0,
    chunkSizeAverage: options.chunkSizeAverage ?? before?.chunkSizeAverage ?? 0,
    chunkSizeMax: options.chunkSizeMax ?? before?.chunkSizeMax ?? 0,
    uncompressed: options.compress === undefined ? (before?.uncompressed ?? false) : !options.compress,
    keepMs: kept("keepMs", options.keepMs, Number.MAX_SAFE_INTEGER) ?? before?.keepMs ?? keepMsDefault,
    keepCountMax: kept("keepCountMax", options.keepCountMax, uint32Max) ?? before?.keepCountMax ?? keepCountDefault,
    encryption: before?.encryption,
  };
  checkChunkSizes({
    sizeMin: settings.chunkSizeMin === 0 ? defaultChunkSizes.sizeMin : settings.chunkSizeMin,
    sizeAverage: settings.chunkSizeAverage === 0 ? defaultChunkSizes.sizeAverage : settings.chunkSizeAverage,
    sizeMax: settings.chunkSizeMax === 0 ? defaultChunkSizes.sizeMax : settings.chunkSizeMax,
  });
  return settings;
}

function kept(name: string, value: number | undefined, max: number): number | undefined {
  if (value === undefined) return undefined;
  if (value === Infinity) return max;
  if (Number.isSafeInteger(value) && value >= 0 && value <= max) return value;
  throw new HoldfastError("invalid", `${name} is ${value}; it is a whole number from 0 to ${max}, or Infinity`);
}
