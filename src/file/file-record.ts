/** What a user sees of a file: everything but its bytes. */
import { HoldfastError, pathText, revision, toHex } from "../base/index.ts";
import type { Digest, Revision } from "../base/index.ts";
import type { FileContent, FileVersion, StoredFile } from "../view/index.ts";

/** One version of a file, a folder or a symbolic link. */
export class FileRecord {
  readonly bucket: string;
  /** As the store has it; bytes that are no UTF-8 stand as lone surrogates in `path`. */
  readonly pathBytes: Uint8Array;
  /** What the view holds, for whoever copies it elsewhere. Not to be changed. */
  readonly stored: StoredFile;
  readonly #digest: Pick<Digest, "sha256">;

  constructor(digest: Pick<Digest, "sha256">, bucket: string, path: Uint8Array, stored: StoredFile) {
    this.#digest = digest;
    this.bucket = bucket;
    this.pathBytes = path;
    this.stored = stored;
  }

  get path(): string {
    return pathText(this.pathBytes);
  }

  get type(): FileContent["type"] {
    return this.stored.content.type;
  }

  /** Bytes. */
  get size(): number {
    return this.stored.content.size;
  }

  /**
   * 64 hexadecimal digits, equal for equal bytes that were put with the same settings of one bucket: the name of the root
   * of its chunks. It is the SHA-256 of the bytes only where they fit one chunk and are not encrypted. Empty for a
   * folder or a link.
   */
  get hash(): string {
    const { type, hash, inline } = this.stored.content;
    if (type !== "file") return "";
    return toHex(hash.length > 0 ? hash : this.#digest.sha256(inline));
  }

  /** As its writer gave it; empty if it gave none. */
  get contentType(): string {
    return this.stored.content.contentType;
  }

  get metadata(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.stored.content.metadata.map(({ name, value }) => [name, value]));
  }

  /** Where a symbolic link points; undefined for anything else. */
  get target(): string | undefined {
    return this.type === "link" ? pathText(this.stored.content.target) : undefined;
  }

  /** 12 permission bits; undefined, as the next three, where nobody gave them. */
  get mode(): number | undefined {
    return this.stored.content.mode;
  }

  get uid(): number | undefined {
    return this.stored.content.uid;
  }

  get gid(): number | undefined {
    return this.stored.content.gid;
  }

  /** Nanoseconds since the Unix epoch: when the contents were last changed where they come from. */
  get modifiedNs(): bigint | undefined {
    return this.stored.content.modifiedNs;
  }

  /** The same in milliseconds; where nobody gave it, when this version was written. */
  get modifiedMs(): number {
    const { modifiedNs } = this.stored.content;
    return modifiedNs === undefined ? this.stored.timeMs : Number(modifiedNs / 1_000n) / 1_000;
  }

  /** The revision that wrote this version. */
  get revision(): Revision {
    return revision(this.stored.revision);
  }

  /** The revision that created the file. */
  get createRevision(): Revision {
    return revision(this.stored.createRevision);
  }

  /** Counts the versions since then, from 1. */
  get version(): number {
    return this.stored.version;
  }

  /** Store time when this version was written, milliseconds since the Unix epoch. */
  get writtenMs(): number {
    return this.stored.timeMs;
  }
}

/** A retained version. */
export class VersionRecord extends FileRecord {
  /** The revision that superseded or deleted it; undefined for the current version. */
  readonly supersededRevision: Revision | undefined;

  constructor(digest: Pick<Digest, "sha256">, bucket: string, path: Uint8Array, version: FileVersion) {
    super(digest, bucket, path, version.file);
    const { supersededRevision } = version;
    this.supersededRevision = supersededRevision === undefined ? undefined : revision(supersededRevision);
  }
}

/** What several paths have in common, in a list of one level: it ends with `/`. */
export class PathPrefix {
  readonly type = "prefix";
  readonly bucket: string;
  readonly pathBytes: Uint8Array;

  constructor(bucket: string, path: Uint8Array) {
    this.bucket = bucket;
    this.pathBytes = path;
  }

  get path(): string {
    return pathText(this.pathBytes);
  }
}

/** For a record of which the bytes are wanted. */
export function checkIsFile(record: FileRecord): void {
  if (record.type === "file") return;
  const what = record.type === "folder" ? "a folder" : `a link to ${JSON.stringify(record.target)}`;
  throw new HoldfastError("invalid", `${record.bucket}:${record.path} is ${what}, which has no bytes of its own`);
}
