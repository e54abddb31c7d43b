/** The files of one store: what `Store` offers of them. One a store, since puts at once share an upload and their syncs. */
import { Buckets } from "./buckets.ts";
import type { BucketSecret } from "./encryption.ts";
import type { FileParts } from "./file-parts.ts";
import { checkedRevision } from "./file-request.ts";
import { FileWork } from "./file-work.ts";
import { Files, PastFiles } from "./files.ts";

export class FileAccess {
  readonly buckets: Buckets;
  readonly #work: FileWork;

  constructor(parts: FileParts) {
    this.#work = new FileWork(parts);
    this.buckets = new Buckets(this.#work);
  }

  /** `secret` is needed for the bytes of an encrypted bucket, and for nothing else. */
  files(bucket: string, secret?: BucketSecret): Files {
    return new Files(this.#work, bucket, secret);
  }

  /** The files as they were at a revision: `trimmed`, when it is read, where the history does not reach so far. */
  past(bucket: string, at: number, secret?: BucketSecret): PastFiles {
    return new PastFiles(this.#work, bucket, secret, checkedRevision("the revision", at));
  }

  /** Ends the upload under way; puts that have not ended fail. Does not close the parts. Idempotent. */
  async close(): Promise<void> {
    await this.#work.close();
  }
}
