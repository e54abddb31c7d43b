/** A file whose bytes are wanted. Everything that is given out has been checked against its hash. */
import { HoldfastError, throwIfAborted, utf8Decode } from "../base/index.ts";
import type { FileAttributes } from "../base/index.ts";
import { gatherContent, readContent } from "../blob/index.ts";
import type { ChunkPipeline, Content, ContentSource } from "../blob/index.ts";
import type { FileContent } from "../view/index.ts";
import { described } from "./file-path.ts";
import { checkIsFile, FileRecord } from "./file-record.ts";
import type { FileWork } from "./file-work.ts";

/** Which bytes: from `start` on, before `end`; what is beyond the size is not there. Undefined: all. */
export interface RangeOptions {
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Looks once more, right before something is done; throws when it must not be. */
export type LastCheck = () => Promise<void>;

/** What one array may hold; more is read as a stream. */
const bytesSizeMax = 2_147_483_647;

/** The root of a file's bytes, as its entry has it. */
export function contentOf({ size, hash, depth, inline }: FileContent): Content {
  return { size, hash, depth, inline: hash.length === 0 ? inline : undefined };
}

/**
 * One version of a file. It can be read as long as that version is kept, also when the file has been replaced meanwhile;
 * in a bucket that keeps no versions a slow reader may find chunks gone (`notFound`).
 */
export class FileReading extends FileRecord {
  readonly #work: FileWork;
  readonly #key: Uint8Array | undefined;

  constructor(work: FileWork, record: FileRecord, key: Uint8Array | undefined) {
    super(work.parts.env.digest, record.bucket, record.pathBytes, record.stored);
    this.#work = work;
    this.#key = key;
  }

  /**
   * The bytes in order, as they come, some chunks read ahead; again from the beginning with every call. None is empty, and
   * they must not be changed. `corrupt` or `notFound`, naming the chunk and where in the file it is, when one that is needed is
   * damaged or gone; `invalid` for a folder or a link. `ReadableStream.from` makes a stream of it.
   */
  async *stream(options: RangeOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    checkIsFile(this);
    try {
      const content = contentOf(this.stored.content);
      yield* readContent(this.#source(options.signal), content, { ...options, key: this.#key });
    } catch (error) {
      throw this.#named(error);
    }
  }

  #source(signal: AbortSignal | undefined): ContentSource {
    const { chunks, pipeline } = this.#work.parts;
    return { get: (hash) => chunks.getStored(hash, signal), pipeline };
  }

  #named(error: unknown): unknown {
    if (!(error instanceof HoldfastError) || !["corrupt", "notFound", "denied"].includes(error.code)) return error;
    const { code, message } = error;
    return new HoldfastError(code, `${described(this.bucket, this.pathBytes)}: ${message}`, { cause: error });
  }

  /**
   * Writes the file, a small one, to a place of this machine as `FileSystem.place` does, by `pipeline`. `check` is called
   * when the bytes are at hand and nothing is written.
   */
  async place(
    pipeline: ChunkPipeline,
    path: string,
    attributes: FileAttributes,
    { signal, check }: { readonly signal?: AbortSignal | undefined; readonly check?: LastCheck | undefined },
  ): Promise<void> {
    checkIsFile(this);
    const source = this.#source(signal);
    const content = await gatherContent(source, contentOf(this.stored.content), signal).catch((error: unknown) => {
      throw this.#named(error);
    });
    await check?.();
    throwIfAborted(signal);
    try {
      await pipeline.place(path, content, attributes, this.#key);
    } catch (error) {
      // All else is of the file system, and names the place.
      throw error instanceof HoldfastError && error.code === "corrupt" ? this.#named(error) : error;
    }
  }

  /** The bytes in one array, the caller's. `invalid` when they are more than an array should hold (2 GiB). */
  async bytes(options: RangeOptions = {}): Promise<Uint8Array> {
    checkIsFile(this);
    const { start = 0, end = this.size } = options;
    const size = Math.max(0, Math.min(end, this.size) - Math.min(start, this.size));
    if (size > bytesSizeMax) {
      const limit = `the limit of bytes() is ${bytesSizeMax.toLocaleString("en")}: use stream(), or a range`;
      throw new HoldfastError("invalid", `${described(this.bucket, this.pathBytes)} is ${size} bytes; ${limit}`);
    }
    // A range that is none is refused by the reading.
    const whole = new Uint8Array(Number.isSafeInteger(size) ? size : 0);
    let at = 0;
    for await (const part of this.stream(options)) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** The bytes as text; `corrupt` if they are not UTF-8. */
  async text(options: Pick<RangeOptions, "signal"> = {}): Promise<string> {
    return utf8Decode(await this.bytes(options));
  }

  /** The bytes as JSON; `corrupt` if they are none. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller's word for what it stored
  async json<T = unknown>(options: Pick<RangeOptions, "signal"> = {}): Promise<T> {
    try {
      return JSON.parse(await this.text(options)) as T;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new HoldfastError("corrupt", `${described(this.bucket, this.pathBytes)} is not JSON`, { cause: error });
    }
  }
}
