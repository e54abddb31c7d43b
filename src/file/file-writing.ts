/** How bytes become chunks that a name may hold: read, cut, protected by an upload, put where they are missing, synced. */
import { abortable, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import type { ChunkSettings, ChunkSink, Hash, NamedBlob, WrittenContent } from "../blob/index.ts";
import type { BucketAccess } from "./bucket-access.ts";
import type { SealedContent } from "./file-attributes.ts";
import { inputPieces, isRepeatable } from "./file-input.ts";
import type { FileInput } from "./file-input.ts";
import type { FileWork } from "./file-work.ts";
import type { UploadUse } from "./uploads.ts";

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes taken since the last call. */
  readonly progress?: ((size: number) => void) | undefined;
}

export type UploadLaterOptions = UploadOptions & {
  /** False: the chunks need not be durable when the call ends; `putMany` makes them so, for many at once. */
  readonly sync?: boolean | undefined;
};

/** Bytes that are stored and wait for a name. */
export interface Uploaded {
  readonly content: WrittenContent & SealedContent;
  /** The lease that protects them, which a put names; 0 when they need none, since they are in the entry. */
  readonly upload: bigint;
  /** The revision that made the bucket for which they are stored, which a put names too; 0: there was none. */
  readonly bucketRevision: number;
  /** Whether they have been made durable. */
  readonly durable: boolean;
  /** Once they have a name, or none is wanted. Idempotent. */
  release(): void;
  [Symbol.dispose](): void;
}

/** The same of a file of this machine. */
export interface UploadedFile extends Uploaded {
  /** As it was when reading began. */
  readonly stat: FileStat;
  /** It was written to meanwhile: the bytes may be of no single moment. */
  readonly changed: boolean;
}

type UploadedAs<T> = Omit<Uploaded, "content" | "bucketRevision"> & { readonly content: T };

const attemptCountMax = 3;

export class FileWriting {
  readonly #work: FileWork;
  readonly #access: BucketAccess;

  constructor(work: FileWork, access: BucketAccess) {
    this.#work = work;
    this.#access = access;
  }

  async upload(input: FileInput, options: UploadLaterOptions): Promise<Uploaded> {
    const { settings, bucketRevision } = await this.#access.writing(options.signal);
    const uploaded = await this.#attempts(isRepeatable(input), options, (sink) => {
      return this.#write(input, settings, sink, options);
    });
    return { ...uploaded, content: this.#sealed(uploaded.content, settings), bucketRevision };
  }

  async uploadFile(path: string, options: UploadLaterOptions): Promise<UploadedFile> {
    const { signal, progress } = options;
    const { settings, bucketRevision } = await this.#access.writing(signal);
    const uploaded = await this.#attempts(true, options, (sink) =>
      this.#work.parts.pipeline.file(path, settings, sink, { signal, progress }),
    );
    const { stat, changed } = uploaded.content;
    return { ...uploaded, content: this.#sealed(uploaded.content, settings), bucketRevision, stat, changed };
  }

  #sealed(content: WrittenContent, { key }: ChunkSettings): WrittenContent & SealedContent {
    return key === undefined ? content : { ...content, seal: this.#access.seal(key, content) };
  }

  async #write(
    input: FileInput,
    settings: ChunkSettings,
    sink: ChunkSink,
    { signal, progress }: UploadOptions,
  ): Promise<WrittenContent> {
    const writer = this.#work.parts.pipeline.writer(settings, sink);
    try {
      for await (const piece of inputPieces(input, signal)) {
        await abortable(writer.write(piece), signal);
        progress?.(piece.length);
      }
      throwIfAborted(signal);
      return await abortable(writer.end(), signal);
    } catch (error) {
      writer.abort();
      throw error;
    }
  }

  async #attempts<T extends WrittenContent>(
    repeatable: boolean,
    options: UploadLaterOptions,
    write: (sink: UploadSink) => Promise<T>,
  ): Promise<UploadedAs<T>> {
    for (let attempt = 1; ; attempt++) {
      const sink = new UploadSink(this.#work, options.signal);
      try {
        const uploaded = await this.#attempt(sink, options, write);
        if (uploaded !== undefined) return uploaded;
      } catch (error) {
        sink.release();
        throw error;
      }
      sink.release();
      if (attempt === attemptCountMax || !repeatable) throw lostError(undefined);
    }
  }

  /** Undefined when what was put may not be where it was synced. */
  async #attempt<T extends WrittenContent>(
    sink: UploadSink,
    { signal, sync = true }: UploadLaterOptions,
    write: (sink: UploadSink) => Promise<T>,
  ): Promise<UploadedAs<T> | undefined> {
    const content = await write(sink);
    const release = () => sink.release();
    if (content.inline !== undefined) {
      release();
      return { content, upload: 0n, durable: true, release, [Symbol.dispose]: release };
    }
    const { lease } = await sink.use();
    if (sync) {
      await this.#work.syncs.sync(signal);
      if (!this.#work.uploads.isIntact(lease)) return undefined;
    }
    sink.hold();
    return { content, upload: lease, durable: sync, release, [Symbol.dispose]: release };
  }

  /**
   * Uploads and commits; from the beginning, when the upload has ended meanwhile, or the bucket was deleted, and the bytes
   * can be read again. `commit` must have no effect when it fails with `conflict`.
   */
  async commit<T>(input: FileInput, options: UploadOptions, commit: (uploaded: Uploaded) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      using uploaded = await this.upload(input, options);
      try {
        return await commit(uploaded);
      } catch (error) {
        if (!isConflict(error)) throw error;
        const { signal } = options;
        const lost = await isLost(this.#work, uploaded.upload, signal);
        if (!lost && !(await this.#access.isStale(uploaded.bucketRevision, signal))) throw error;
        if (attempt < attemptCountMax && isRepeatable(input)) continue;
        throw lost ? lostError(error) : error;
      }
    }
  }
}

/** What was sent may not be there any more, and cannot be sent again. */
export function lostError(cause: unknown): HoldfastError {
  const what =
    "the store was out of reach meanwhile, so that what was sent may be gone, and the source cannot be read again";
  return new HoldfastError("conflict", `${what}: put it again`, { cause });
}

/** Whether a commit was refused for something that no longer holds, an upload that has ended among others. */
export function isConflict(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.code === "conflict" && !error.maybe;
}

/** Whether the upload, whose commit was refused, has ended. */
export async function isLost(work: FileWork, upload: bigint, signal: AbortSignal | undefined): Promise<boolean> {
  return upload !== 0n && work.uploads.hasEnded(upload, signal);
}

/** Where the chunks of one put go. The upload begins with the first of them: a small file needs none. */
class UploadSink implements ChunkSink {
  readonly #work: FileWork;
  readonly #signal: AbortSignal | undefined;
  #use: Promise<UploadUse> | undefined;
  #released = false;

  constructor(work: FileWork, signal: AbortSignal | undefined) {
    this.#work = work;
    this.#signal = signal;
  }

  use(): Promise<UploadUse> {
    if (this.#released) throw new HoldfastError("cancelled", "the upload was given up");
    this.#use ??= this.#work.uploads.use(this.#signal);
    return this.#use;
  }

  async wanted(hashes: readonly Hash[]): Promise<readonly boolean[]> {
    const { revision } = await this.use();
    const found = await this.#work.parts.chunks.touch(hashes, revision, this.#signal);
    return found.map((there) => !there);
  }

  async put(blobs: readonly NamedBlob[]): Promise<void> {
    await this.use();
    await this.#work.parts.chunks.putStored(blobs, this.#signal);
  }

  /** It waits for a name now. */
  hold(): void {
    void this.#use?.then((use) => use.hold());
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#use?.then(
      (use) => use.release(),
      () => {},
    );
  }
}
