/**
 * The operations of the file view and their results, as messages. The view holds what files are called and what they are:
 * bytes are in chunks (`blob/`), which no operation touches.
 */
import {
  bool,
  bytes,
  embed,
  enumeration,
  int64Big,
  message,
  oneOf,
  optional,
  repeated,
  string,
  uint32,
  uint64,
  uint64Big,
} from "../../base/index.ts";
import type { Infer, Init } from "../../base/index.ts";

const Metadata = message("holdfast.file.Metadata", { name: string(1), value: string(2) });

/** What a file is, as its writer says it. */
export const FileContent = message("holdfast.file.Content", {
  type: enumeration(1, { file: 0, folder: 1, link: 2 }),
  /** Bytes. */
  size: uint64(2),
  /** The root of the chunks, 32 bytes; empty for a folder, a link, and where the bytes are `inline`. */
  hash: bytes(3),
  /** Levels of chunk lists. */
  depth: uint32(4),
  /** All bytes of a small file. */
  inline: bytes(5),
  /** Where a symbolic link points: bytes as the file system has them. */
  target: bytes(6),
  contentType: string(7),
  /** In the order of the names, each name once. */
  metadata: repeated(embed(8, Metadata)),
  /** 12 permission bits; absent where the file does not come from a file system, as the next ones. */
  mode: optional(uint32(9)),
  uid: optional(uint32(10)),
  gid: optional(uint32(11)),
  /** Nanoseconds since the Unix epoch. */
  modifiedNs: optional(int64Big(12)),
  /** The file on the machine that it came from, which tells whether it has changed there since. */
  changedNs: int64Big(13),
  device: uint64Big(14),
  inode: uint64Big(15),
  /** Entries of one bucket with the same number, not 0, from the same tree are hard links of each other. */
  linkGroup: uint64Big(16),
  /** In an encrypted bucket, of a file or a link: what its client vouches for it with (file/content-seal.ts); else empty. */
  seal: bytes(17),
});
export type FileContent = Infer<typeof FileContent>;

/** One version of a file, without its path. */
export const StoredFile = message("holdfast.file.Stored", {
  content: embed(1, FileContent),
  /** The revision that wrote this version, and the one that created the file. */
  revision: uint64(2),
  createRevision: uint64(3),
  /** Counts the versions since the file was created, from 1. */
  version: uint64(4),
  /** Store time when it was written, milliseconds since the Unix epoch. */
  timeMs: uint64(5),
});
/** A stored file always has its content. */
export type StoredFile = Infer<typeof StoredFile> & { readonly content: FileContent };

/** How the files of a bucket are kept. */
export const BucketSettings = message("holdfast.file.BucketSettings", {
  /** Sizes of chunks in bytes: 4,096 ≤ min ≤ average ≤ max ≤ 8 MiB. 0: the defaults. */
  chunkSizeMin: uint32(1),
  chunkSizeAverage: uint32(2),
  chunkSizeMax: uint32(3),
  /** Keep chunks as they are instead of compressing where that helps. */
  uncompressed: bool(4),
  /** Superseded and deleted versions stay for so long in store time, milliseconds; 0: they go at once. */
  keepMs: uint64(5),
  /** And at most so many of one path. */
  keepCountMax: uint32(6),
  /**
   * What clients need to find out whether they have the right key, and to get the key of the data from it; empty: the bucket
   * is not encrypted. Whether it is, is said when the bucket is made and never changed. See file/encryption.ts.
   */
  encryption: bytes(7),
});
export type BucketSettings = Infer<typeof BucketSettings>;

/** Only if the file's last revision is this one; 0: only if it is absent. Absent: in any case. */
const condition = (number: number) => optional(uint64(number));

/** Makes the bucket or changes its settings. */
const SetBucket = message("holdfast.file.SetBucket", {
  bucket: string(1),
  settings: embed(2, BucketSettings),
  /** `exists` if it is there already. */
  mustBeNew: bool(3),
  /** Only if it is the bucket that this revision made; else `conflict`. 0: whatever is there. */
  bucketRevision: uint64(4),
  /** Only if its settings still are these; else `conflict`. Absent: whatever they are. */
  before: embed(5, BucketSettings),
});
/**
 * `notFound` unless it is there, `conflict` unless it has no files. Its old versions cannot be read any more, and go with the
 * sweeps that follow.
 */
const DeleteBucket = message("holdfast.file.DeleteBucket", { bucket: string(1) });

/**
 * Puts a file; makes the bucket, with the default settings, if it is missing. Whoever names chunks must have protected
 * them: by the upload, whose chunks are not collected while it lasts (`conflict` when it has ended), or because a snapshot
 * (`conflict` when it is gone) holds a file with this root. Chunks that nothing protects are `invalid`.
 *
 * The bytes of a file are made for one bucket, since they are encrypted with its key or in the clear. So the put names the
 * bucket, and is a `conflict` when that was deleted, also if another one has its name now. These conflicts are final.
 */
const PutFile = message("holdfast.file.Put", {
  bucket: string(1),
  path: bytes(2),
  content: embed(3, FileContent),
  ifRevision: condition(4),
  /** The lease of the upload; 0: none. */
  upload: uint64Big(5),
  /** A snapshot's name; empty: none. */
  snapshot: string(6),
  /**
   * The revision that made the bucket, as the writer has seen it. 0: the writer knows of none, and the bytes are in the
   * clear: `conflict` in a bucket that is encrypted, unless there are no bytes or the same command has made the bucket.
   */
  bucketRevision: uint64(7),
  /** The revision that the snapshot pins; `conflict` when the one of this name pins another. 0: whatever it pins. */
  snapshotRevision: uint64(8),
});

/** Deletes a file, or all whose path begins with the prefix, at one revision. That there are none is no error. */
const DeleteFile = message("holdfast.file.Delete", {
  bucket: string(1),
  path: bytes(2),
  ifRevision: condition(3),
  /** `path` is a prefix. */
  prefix: bool(4),
});

/**
 * A file under another name, with all that it is; `move` deletes it under the old one. `notFound` when it is absent. With
 * `folder`, everything below the path, and the path itself if it is an entry: `from/x` becomes `to/x`. What is there
 * already under a new name is superseded.
 */
const CopyFile = message("holdfast.file.Copy", {
  fromBucket: string(1),
  from: bytes(2),
  toBucket: string(3),
  to: bytes(4),
  move: bool(5),
  folder: bool(6),
  /** The version that was written at this revision; 0: the current one. Not with `folder` or `move`. */
  fromRevision: uint64(7),
  /** On what is there under the new name, with the same meaning as for a put. Not with `folder`. */
  ifRevision: condition(8),
});

/** Refuses the whole command with `conflict` unless all are as expected. */
const FileGuard = message("holdfast.file.Guard", {
  bucket: string(1),
  path: bytes(2),
  /** 0: absent. */
  revision: uint64(3),
});
/** All paths with the prefix: so many files, none of them changed after `revision`. */
const PrefixGuard = message("holdfast.file.PrefixGuard", {
  bucket: string(1),
  prefix: bytes(2),
  count: uint64(3),
  revision: uint64(4),
});
const CheckFiles = message("holdfast.file.Check", {
  files: repeated(embed(1, FileGuard)),
  prefixes: repeated(embed(2, PrefixGuard)),
});

/**
 * Begins an upload: chunks that are put or found from now on are not collected while the lease exists (view/lease; it
 * may have been granted in the same command).
 */
const BeginUpload = message("holdfast.file.BeginUpload", { lease: uint64Big(1) });

/**
 * Forgets versions of the bucket that are past their time in store time, the oldest first and at most so many. The result
 * counts them. Proposed by the primary.
 */
const Sweep = message("holdfast.file.Sweep", { limit: uint32(1), bucket: string(2) });

const Empty = message("holdfast.file.Empty", {});
/** What was stored beside the content; the revision is that of the command. */
const PutResult = message("holdfast.file.PutResult", {
  version: uint64(1),
  createRevision: uint64(2),
  timeMs: uint64(3),
});
const CountResult = message("holdfast.file.CountResult", { count: uint64(1) });

export const FileOperation = message("holdfast.file.Operation", {
  operation: oneOf({
    setBucket: embed(1, SetBucket),
    deleteBucket: embed(2, DeleteBucket),
    put: embed(3, PutFile),
    delete: embed(4, DeleteFile),
    copy: embed(5, CopyFile),
    check: embed(6, CheckFiles),
    beginUpload: embed(7, BeginUpload),
    sweep: embed(8, Sweep),
  }),
});
export type FileOperation = Init<typeof FileOperation>;

export const FileResult = message("holdfast.file.Result", {
  result: oneOf({
    setBucket: embed(1, Empty),
    deleteBucket: embed(2, Empty),
    put: embed(3, PutResult),
    delete: embed(4, CountResult),
    copy: embed(5, CountResult),
    check: embed(6, Empty),
    beginUpload: embed(7, Empty),
    sweep: embed(8, CountResult),
  }),
});
export type FileResult = Infer<typeof FileResult>;
