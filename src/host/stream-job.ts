/** A content whose bytes come in pieces, cut in a thread of a `WorkerPipeline`. */
import { emptyBytes, limits } from "../base/index.ts";
import { ChunkCutter } from "../blob/index.ts";
import type { ChunkMaker } from "../blob/index.ts";
import type { ChunkJob, JobOutput } from "./chunk-job.ts";

export class StreamJob implements ChunkJob {
  readonly #cutter: ChunkCutter;
  readonly #output: JobOutput;
  readonly #pieces: Uint8Array[] = [];
  #ended = false;
  #hasChunks = false;

  constructor(maker: ChunkMaker, output: JobOutput) {
    this.#cutter = new ChunkCutter(maker.chunker());
    this.#output = output;
  }

  /** The next bytes; undefined: there are no more. */
  push(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) this.#ended = true;
    else this.#pieces.push(bytes);
  }

  step(): "again" | "waiting" | "ended" {
    const bytes = this.#pieces.shift();
    if (bytes !== undefined) {
      for (const chunk of this.#cutter.push(bytes)) this.#chunk(chunk);
      this.#output.progress(bytes.length);
    } else if (this.#ended) {
      const rest = this.#cutter.end() ?? emptyBytes;
      const isSmall = !this.#hasChunks && rest.length <= limits.inlineFileSizeMax;
      if (!isSmall && rest.length > 0) this.#chunk(rest);
      this.#output.end(isSmall ? rest : undefined);
      return "ended";
    }
    return this.#pieces.length > 0 || this.#ended ? "again" : "waiting";
  }

  close(): void {
    this.#pieces.length = 0;
  }

  #chunk(bytes: Uint8Array): void {
    this.#hasChunks = true;
    this.#output.chunk(bytes);
  }
}
