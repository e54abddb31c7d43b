/** `file`: files and folders on views and blobs. Put, get, whole trees of a file system, sync, encryption. */
export { Buckets } from "./buckets.ts";
export type { Bucket, BucketCallOptions, BucketOptions } from "./buckets.ts";
export { BucketEncryption } from "./encryption.ts";
export type { BucketSecret } from "./encryption.ts";
export { FileAccess } from "./file-access.ts";
export { fileContent, folderContent, linkContent } from "./file-attributes.ts";
export type { FileAttributes, FileIdentity, SealedContent } from "./file-attributes.ts";
export type { FileEntry, PutManyOptions, PutManyOutcome } from "./file-batches.ts";
export type { ByteStream, FileInput } from "./file-input.ts";
export type { FileChunks, FileParts } from "./file-parts.ts";
export type { FilePath } from "./file-path.ts";
export { contentOf, FileReading } from "./file-reading.ts";
export type { RangeOptions } from "./file-reading.ts";
export { FileRecord, PathPrefix, VersionRecord } from "./file-record.ts";
export type { FileConditions, FileOutcome } from "./file-request.ts";
export type { Uploaded, UploadedFile, UploadLaterOptions, UploadOptions } from "./file-writing.ts";
export { Files, PastFiles } from "./files.ts";
export type {
  CopyFileOptions,
  DeleteFileOptions,
  EntryOptions,
  FileListOptions,
  GetOptions,
  PutFileOptions,
} from "./files.ts";
export { restore } from "./restore.ts";
export type { RestoreChange, RestoreOptions, RestoreParts, RestoreProgress } from "./restore.ts";
export { retain, retained } from "./retention.ts";
export type { Retained, RetainParts, RetentionReason, RetentionRules } from "./retention.ts";
export { patternLines, Patterns } from "./patterns.ts";
export type { PatternOptions } from "./patterns.ts";
export type { SyncEvent, SyncEventType, SyncOptions, SyncOutcome } from "./sync-options.ts";
export type { TreeEvent, TreeEventType, TreeOptions, TreeOutcome, TreeProgress } from "./tree.ts";
export type { PutTreeOptions } from "./tree-put.ts";
export { Trees } from "./trees.ts";
export type { TreeGetOptions } from "./trees.ts";
export type { VerifyTreeOptions } from "./verify.ts";
