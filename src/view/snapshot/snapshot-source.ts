/**
 * Where snapshots are read and written: the contract between the public face (`Snapshots`) and what is behind it, a
 * replica in this process (`local.ts`) or one elsewhere (`remote.ts`).
 */
import type { Proposer } from "../command.ts";
import type { StoredRecord } from "../key/key-operation.ts";
import type { ReadOptions } from "../key/key-source.ts";
import type { StoredFile } from "../file/file-operation.ts";
import type { StoredSnapshot } from "./snapshot-operation.ts";

export interface NamedSnapshot extends StoredSnapshot {
  readonly name: string;
}

export interface DiffQuery {
  /** Revisions that snapshots pin; `after` undefined: the present state. */
  readonly before: number;
  readonly after: number | undefined;
  /** Only keys with this prefix, or none; only files of this bucket with this prefix, or none. Both absent: everything. */
  readonly keys?: { readonly prefix: Uint8Array } | undefined;
  readonly files?: { readonly bucket: string | undefined; readonly prefix: Uint8Array } | undefined;
}

/** What is not the same in both states. Undefined: not there. */
export type Difference =
  | {
      readonly type: "key";
      readonly key: Uint8Array;
      readonly before: StoredRecord | undefined;
      readonly after: StoredRecord | undefined;
    }
  | {
      readonly type: "file";
      readonly bucket: string;
      readonly path: Uint8Array;
      readonly before: StoredFile | undefined;
      readonly after: StoredFile | undefined;
    };

export interface SnapshotSource extends Proposer {
  /** In the order of their revisions. */
  snapshots(options: ReadOptions): Promise<readonly NamedSnapshot[]>;
  /**
   * Keys in the order of their bytes, then files by bucket and path, in batches; the cost grows with the difference.
   * `notFound` when no snapshot pins a revision that is named.
   */
  diff(query: DiffQuery, options: ReadOptions): AsyncIterable<readonly Difference[]>;
}
