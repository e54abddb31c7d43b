/** Whole trees between the file system of a machine and the buckets of a store. */
import type { FileSystem } from "../base/index.ts";
import type { FileParts } from "./file-parts.ts";
import type { Files } from "./files.ts";
import { syncTree } from "./sync.ts";
import type { SyncOptions, SyncOutcome } from "./sync-options.ts";
import type { TreeOutcome, TreeParts } from "./tree.ts";
import { getTree } from "./tree-get.ts";
import type { GetTreeOptions } from "./tree-get.ts";
import type { TreeSource } from "./tree-merge.ts";
import { putTree } from "./tree-put.ts";
import type { PutTreeOptions } from "./tree-put.ts";
import { verifyTree } from "./verify.ts";
import type { VerifyTreeOptions } from "./verify.ts";

export type TreeGetOptions = Omit<GetTreeOptions, "settings">;

export class Trees {
  readonly #parts: TreeParts;

  /** The pipeline of `parts` must read the files of this file system. */
  constructor(parts: Pick<FileParts, "env" | "chunks" | "pipeline">, fileSystem: FileSystem) {
    const { env, chunks, pipeline } = parts;
    this.#parts = { env, chunks, pipeline, fileSystem };
  }

  /** Puts what is at `root` (a folder with all below it, a file, a link) at `prefix`; what has not changed is not read. */
  put(files: Files, root: string, prefix: string, options?: PutTreeOptions): Promise<TreeOutcome> {
    return putTree(this.#parts, files, root, prefix, options);
  }

  /**
   * Writes what is at `prefix` to `root`; what is there already is left as it is. `past`: as it was at an earlier revision,
   * of the same bucket.
   */
  get(
    files: Files,
    prefix: string,
    root: string,
    { past, ...options }: TreeGetOptions & { readonly past?: TreeSource | undefined } = {},
  ): Promise<TreeOutcome> {
    const settings = (signal?: AbortSignal) => files.settings(signal);
    return getTree(this.#parts, past ?? files, prefix, root, { ...options, settings });
  }

  /** Brings the folder at `root` and the tree at `prefix` together, both ways. */
  sync(files: Files, root: string, prefix: string, options: SyncOptions): Promise<SyncOutcome> {
    return syncTree(this.#parts, files, root, prefix, options);
  }

  /** Reads every byte at `prefix` again. */
  verify(files: TreeSource, prefix: string, options?: VerifyTreeOptions): Promise<TreeOutcome> {
    return verifyTree(files, prefix, options);
  }
}
