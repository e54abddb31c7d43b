/** What all files of a store share in one process: the parts, the upload under way, the group of syncs, the keys. */
import { HoldfastError } from "../base/index.ts";
import type { Init, Revision } from "../base/index.ts";
import { operation } from "../view/index.ts";
import type { FileOperation, FileResult, Operation } from "../view/index.ts";
import { KeyRing } from "./encryption.ts";
import type { FileParts } from "./file-parts.ts";
import { SyncGroup } from "./sync-group.ts";
import { Uploads } from "./uploads.ts";

export interface Answered {
  /** Of the command; the store's own if it changed nothing. */
  readonly revision: Revision;
  readonly results: readonly FileResult[];
}

export class FileWork {
  readonly parts: FileParts;
  readonly uploads: Uploads;
  readonly syncs: SyncGroup;
  readonly keys: KeyRing;

  constructor(parts: FileParts) {
    this.parts = parts;
    this.uploads = new Uploads(parts);
    this.syncs = new SyncGroup(parts.chunks);
    this.keys = new KeyRing(parts.env);
  }

  /** One command. Fails with what it was refused for. */
  async propose(bodies: readonly Init<typeof FileOperation>[], signal: AbortSignal | undefined): Promise<Answered> {
    const operations: Operation[] = bodies.map((body) => operation(this.parts.view, body));
    const outcome = await this.parts.source.propose(operations, { signal });
    if (outcome.ok) return { revision: outcome.revision, results: outcome.results as readonly FileResult[] };
    throw new HoldfastError(outcome.code, outcome.message, { maybe: outcome.maybe ?? false });
  }

  /** Ends the upload under way. */
  async close(): Promise<void> {
    await this.uploads.close();
  }
}
