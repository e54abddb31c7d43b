/** The snapshots of a store with what needs keys and files beside them: restoring, and rules for what is kept. */
import { restore, retain } from "../file/index.ts";
import type { RestoreOptions, RestoreParts, RestoreProgress, Retained, RetentionRules } from "../file/index.ts";
import { Snapshots } from "../view/index.ts";
import type { NamedSnapshot, SnapshotSource, SnapshotView } from "../view/index.ts";

export class StoreSnapshots extends Snapshots {
  readonly #parts: RestoreParts;
  readonly #source: SnapshotSource;
  readonly #view: SnapshotView;

  constructor(parts: RestoreParts, view: SnapshotView) {
    super(parts.snapshots, view);
    this.#parts = parts;
    this.#source = parts.snapshots;
    this.#view = view;
  }

  /**
   * Puts back what differs between a snapshot and the present: keys, files, or some of them; no bytes are moved. At one
   * revision if it fits one command (`atomic`), else in several. See `RestoreOptions` for `dryRun`. `notFound` when there is
   * no such snapshot. Leaving the loop ends it between two commands.
   */
  restore(options: RestoreOptions): AsyncGenerator<RestoreProgress, void, undefined> {
    return restore(this.#parts, options);
  }

  /** Deletes the snapshots that no rule keeps, and answers how each was judged, newest first. */
  retain(
    rules: RetentionRules,
    options: { readonly dryRun?: boolean | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Retained<NamedSnapshot>[]> {
    return retain({ source: this.#source, view: this.#view }, rules, options);
  }
}
