/**
 * One content that a thread of a `WorkerPipeline` works on, as the pipeline sees it: its chunks on their way to the sink,
 * and how it ended.
 */
import { deferred } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { ContentAssembler, inlineContent } from "../blob/index.ts";
import type { ChunkSettings, ChunkSink, WrittenContent } from "../blob/index.ts";
import type { Id, InlineBytes, ReadFile } from "./pipeline-protocol.ts";

export interface ContentResult {
  readonly content: WrittenContent;
  /** Of a file. */
  readonly file: ReadFile | undefined;
}

export interface ContentCallParts {
  readonly digest: Digest;
  readonly settings: ChunkSettings;
  readonly sink: ChunkSink;
  /** Called with the bytes read or taken since the last call. */
  readonly progress: (size: number) => void;
  /** Called once, when there is a result or a failure. */
  readonly settled?: (() => void) | undefined;
}

export class ContentCall {
  readonly assembler: ContentAssembler;
  readonly settings: ChunkSettings;
  /** Batches that the thread has told and that are not released; what another thread makes of the memory of one. */
  readonly batches = new Map<Id, Promise<unknown> | undefined>();
  readonly progress: (size: number) => void;
  readonly #result = deferred<ContentResult>();
  readonly #settled: () => void;
  #isSettled = false;

  constructor({ digest, settings, sink, progress, settled }: ContentCallParts) {
    this.settings = settings;
    this.assembler = new ContentAssembler(digest, sink);
    this.progress = progress;
    this.#settled = settled ?? (() => {});
    // Of a content that was given up nobody may be waiting.
    this.#result.promise.catch(() => {});
  }

  get result(): Promise<ContentResult> {
    return this.#result.promise;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The thread has told everything. */
  end(inline: InlineBytes | undefined, file: ReadFile | undefined): void {
    if (inline !== undefined) return this.#resolve({ content: inlineContent(inline.size, inline.bytes), file });
    this.assembler.end().then(
      (content) => this.#resolve({ content, file }),
      (error: unknown) => this.fail(error),
    );
  }

  /** The sink is not called any more. Idempotent, also after the end. */
  fail(error: unknown): void {
    if (this.#isSettled) return;
    this.assembler.abort();
    this.#isSettled = true;
    this.#result.reject(error);
    this.#settled();
  }

  #resolve(result: ContentResult): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#result.resolve(result);
    this.#settled();
  }
}
