/**
 * Which epochs of the chunk store began when, in revisions, and so how far a sweep may go while uploads last.
 *
 * 1. Epoch 1 began at revision 0: what is found at the start may be of any upload.
 * 2. Epochs and revisions ascend.
 */
import { assert } from "../base/index.ts";

interface Beginning {
  readonly epoch: number;
  readonly revision: number;
}

export class EpochBook {
  #beginnings: Beginning[] = [{ epoch: 1, revision: 0 }];

  /** An epoch has begun, when the store was at this revision. */
  began(epoch: number, revision: number): void {
    const last = this.#beginnings.at(-1) as Beginning; // There is always one.
    assert(epoch > last.epoch && revision >= last.revision, "epochs and revisions ascend");
    this.#beginnings.push({ epoch, revision });
  }

  /**
   * The newest epoch that began before all of these uploads, given by the revision of each; infinite without any. Their
   * chunks have this epoch or a later one. Forgets what no bound can be any more: later calls name these uploads again, or
   * ones that began after the last epoch.
   */
  bound(uploads: readonly number[]): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const revision of uploads) oldest = Math.min(oldest, revision);
    const index = this.#beginnings.findLastIndex(({ revision }) => revision < oldest);
    // Revision 0 is before every upload; an upload of revision 0 is none, and nothing is swept for it.
    if (index < 0) return 0;
    this.#beginnings.splice(0, index);
    return uploads.length === 0 ? Number.POSITIVE_INFINITY : (this.#beginnings[0] as Beginning).epoch;
  }
}
