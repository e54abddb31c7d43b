/**
 * A file of this machine, read and cut in a thread of a `WorkerPipeline`, where calls that wait for the disk hold up
 * nobody who matters: a small file in one step, a large one piece by piece.
 *
 * Bytes are read to the end, wherever that is by then, but not more than `growthMax` beyond the size that the file had: a
 * file that somebody writes to all the time would have no end. What changed meanwhile counts as changed.
 */
import * as fs from "node:fs";
import { emptyBytes, HoldfastError, limits } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import { ChunkCutter } from "../blob/index.ts";
import type { ChunkMaker } from "../blob/index.ts";
import type { ChunkJob, JobOutput } from "./chunk-job.ts";
import { fileError, openError, placeOf, quoted } from "./file-error.ts";
import { fileStat } from "./file-stat.ts";
import { SlabCutter } from "./slabs.ts";
import type { Slabs } from "./slabs.ts";

/** A file up to this size is read in one step. */
const smallSizeMax = 1_048_576;
const growthMax = 67_108_864;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

interface Opened {
  readonly descriptor: number;
  readonly stat: FileStat;
  /** Of a large file the second; of a small one none until there is something to cut. */
  cutter: ChunkCutter | SlabCutter | undefined;
  /** All bytes of a file that is shorter than any chunk that is cut. */
  rest: Uint8Array;
}

export class FileJob implements ChunkJob {
  readonly #path: string;
  readonly #maker: ChunkMaker;
  readonly #output: JobOutput;
  readonly #slabs: Slabs;
  readonly #admit: () => boolean;
  #opened: Opened | undefined;
  #offset = 0;
  #hasChunks = false;

  /** `admit` is asked before a large file is read. */
  constructor(path: string, maker: ChunkMaker, output: JobOutput, slabs: Slabs, admit: () => boolean) {
    this.#path = path;
    this.#maker = maker;
    this.#output = output;
    this.#slabs = slabs;
    this.#admit = admit;
  }

  step(): "again" | "deferred" | "ended" {
    this.#opened ??= this.#open();
    if (this.#opened === undefined) return "deferred";
    const { stat, cutter } = this.#opened;
    const isEnd = cutter instanceof SlabCutter ? this.#readPiece(cutter) : this.#readSmall(this.#opened, cutter);
    if (!isEnd && this.#offset <= stat.size + growthMax) return "again";
    this.#end(this.#opened);
    return "ended";
  }

  close(): void {
    if (this.#opened === undefined) return;
    const { descriptor, cutter } = this.#opened;
    fs.closeSync(descriptor);
    if (cutter instanceof SlabCutter) cutter.close();
    this.#opened = undefined;
  }

  /** Undefined if it is not to be read now. */
  #open(): Opened | undefined {
    let descriptor: number;
    try {
      descriptor = fs.openSync(placeOf(this.#path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      throw openError(error, this.#path, "invalid");
    }
    try {
      const stat = this.#look(descriptor);
      if (stat.type !== "file") {
        throw new HoldfastError("invalid", `cannot open ${quoted(this.#path)}: it is no plain file`);
      }
      const opened = { descriptor, stat, cutter: undefined, rest: emptyBytes };
      if (stat.size <= smallSizeMax) return opened;
      if (this.#admit()) return { ...opened, cutter: new SlabCutter(this.#maker.chunker(), this.#slabs) };
    } catch (error) {
      fs.closeSync(descriptor);
      throw error;
    }
    fs.closeSync(descriptor);
    return undefined;
  }

  #look(descriptor: number): FileStat {
    try {
      return fileStat(fs.fstatSync(descriptor, { bigint: true }));
    } catch (error) {
      throw fileError(error, "look at", this.#path);
    }
  }

  /** All of the file, unless it has become longer; whether that was the end. */
  #readSmall(opened: Opened, cutter: ChunkCutter | undefined): boolean {
    // One byte more than it has: coming back without it says that the file has ended.
    const size = this.#offset === 0 ? opened.stat.size + 1 : smallSizeMax;
    const { buffer, byteOffset } = Buffer.allocUnsafe(size);
    const bytes = new Uint8Array(buffer, byteOffset, size);
    const filled = this.#read(bytes);
    const isEnd = filled < size;
    if (isEnd && cutter === undefined && filled < this.#maker.sizeMin) {
      opened.rest = bytes.subarray(0, filled);
      return true;
    }
    const own = cutter ?? new ChunkCutter(this.#maker.chunker());
    opened.cutter = own;
    for (const chunk of own.push(bytes.subarray(0, filled))) this.#chunk(chunk);
    return isEnd;
  }

  /** The next piece of a large file; whether it was the last. */
  #readPiece(cutter: SlabCutter): boolean {
    const room = cutter.room();
    const filled = this.#read(room);
    for (const chunk of cutter.push(filled)) this.#chunk(chunk);
    return filled < room.length;
  }

  /** Fills the bytes, or as many as there are. */
  #read(bytes: Uint8Array): number {
    // Only an open file is read.
    const { descriptor } = this.#opened as Opened;
    let filled = 0;
    try {
      while (filled < bytes.length) {
        const count = fs.readSync(descriptor, bytes, filled, bytes.length - filled, this.#offset + filled);
        if (count === 0) break;
        filled += count;
      }
    } catch (error) {
      throw fileError(error, "read", this.#path);
    }
    this.#offset += filled;
    if (filled > 0) this.#output.progress(filled);
    return filled;
  }

  #end({ descriptor, stat, cutter, ...opened }: Opened): void {
    const rest = cutter === undefined ? opened.rest : (cutter.end() ?? emptyBytes);
    const isInline = !this.#hasChunks && rest.length <= limits.inlineFileSizeMax;
    if (!isInline && rest.length > 0) this.#chunk(rest);
    const changed = this.#offset !== stat.size || !isSame(stat, this.#look(descriptor));
    this.#output.end(isInline ? rest : undefined, { stat, changed });
  }

  #chunk(bytes: Uint8Array): void {
    this.#hasChunks = true;
    this.#output.chunk(bytes);
  }
}

/** Whether nothing was done to the open file between the two. Its inode is always the same. */
function isSame(a: FileStat, b: FileStat): boolean {
  return a.size === b.size && a.modifiedNs === b.modifiedNs && a.changedNs === b.changedNs;
}
