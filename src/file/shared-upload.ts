/** One upload under several names: it is released when all of them have released it and no more are to come. */
import { assert } from "../base/index.ts";
import type { Uploaded } from "./file-writing.ts";

export class SharedUpload {
  readonly #uploaded: Uploaded;
  #openCount = 0;
  #ended = false;

  /** Takes the upload over. */
  constructor(uploaded: Uploaded) {
    this.#uploaded = uploaded;
  }

  /** For one more name. */
  handle(): Uploaded {
    assert(!this.#ended, "a handle of a shared upload that has ended");
    this.#openCount++;
    const { content, upload, bucketRevision, durable } = this.#uploaded;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.#openCount--;
      this.#settle();
    };
    return { content, upload, bucketRevision, durable, release, [Symbol.dispose]: release };
  }

  /** No more names come. Idempotent. */
  end(): void {
    this.#ended = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#ended && this.#openCount === 0) this.#uploaded.release();
  }
}
