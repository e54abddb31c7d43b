/** Reads of the names of files over the network: the contract, and the half of the member that has the replica. */
import { bool, bytes, embed, message, optional, repeated, string, uint64 } from "../../base/index.ts";
import { contract, implement, serverStream, unary } from "../../rpc/index.ts";
import type { Service } from "../../rpc/index.ts";
import { Freshness, toReadOptions } from "../freshness-message.ts";
import { BucketSettings, StoredFile } from "./file-operation.ts";
import type { FileSource } from "./file-source.ts";

const GetRequest = message("holdfast.file.GetRequest", {
  bucket: string(1),
  path: bytes(2),
  at: optional(uint64(3)),
  freshness: embed(4, Freshness),
});
const GetResponse = message("holdfast.file.GetResponse", { file: embed(1, StoredFile) });

const ListRequest = message("holdfast.file.ListRequest", {
  bucket: string(1),
  prefix: bytes(2),
  start: optional(bytes(3)),
  folders: bool(4),
  limit: optional(uint64(5)),
  reverse: bool(6),
  at: optional(uint64(7)),
  freshness: embed(8, Freshness),
});
/** Without a file: what several paths have in common. */
const Listed = message("holdfast.file.Listed", { path: bytes(1), file: embed(2, StoredFile) });
const ListResponse = message("holdfast.file.ListResponse", { revision: uint64(1), files: repeated(embed(2, Listed)) });

const VersionsRequest = message("holdfast.file.VersionsRequest", {
  bucket: string(1),
  path: bytes(2),
  freshness: embed(3, Freshness),
});
const Version = message("holdfast.file.Version", {
  file: embed(1, StoredFile),
  supersededRevision: optional(uint64(2)),
});
const VersionsResponse = message("holdfast.file.VersionsResponse", { versions: repeated(embed(1, Version)) });

const BucketRequest = message("holdfast.file.BucketRequest", {
  name: string(1),
  freshness: embed(2, Freshness),
  at: optional(uint64(3)),
});
const Bucket = message("holdfast.file.Bucket", {
  name: string(1),
  settings: embed(2, BucketSettings),
  createRevision: uint64(3),
  fileCount: uint64(4),
  historyRevision: uint64(5),
});
const BucketResponse = message("holdfast.file.BucketResponse", { bucket: embed(1, Bucket) });
const BucketsRequest = message("holdfast.file.BucketsRequest", { freshness: embed(1, Freshness) });
const BucketsResponse = message("holdfast.file.BucketsResponse", { buckets: repeated(embed(1, Bucket)) });
const RevisionRequest = message("holdfast.file.RevisionRequest", { freshness: embed(1, Freshness) });
const RevisionResponse = message("holdfast.file.RevisionResponse", { revision: uint64(1) });

export const FileService = contract("holdfast.file.Files", {
  get: unary(1, GetRequest, GetResponse),
  list: serverStream(2, ListRequest, ListResponse),
  versions: serverStream(3, VersionsRequest, VersionsResponse),
  bucket: unary(4, BucketRequest, BucketResponse),
  buckets: serverStream(5, BucketsRequest, BucketsResponse),
  revision: unary(6, RevisionRequest, RevisionResponse),
});

export function fileService(source: FileSource): Service {
  return implement(FileService, {
    async get({ bucket, path, at, freshness }, { signal }) {
      return { file: await source.get(bucket, path, at, toReadOptions(freshness, signal)) };
    },
    async *list({ freshness, ...query }, { signal }) {
      for await (const { revision, files } of source.list(query, toReadOptions(freshness, signal))) {
        for (const part of parts(files, ({ path, file }) => path.length + sizeOf(file)))
          yield { revision, files: part };
        if (files.length === 0) yield { revision, files };
      }
    },
    async *versions({ bucket, path, freshness }, { signal }) {
      const versions = await source.versions(bucket, path, toReadOptions(freshness, signal));
      for (const part of parts(versions, ({ file }) => sizeOf(file))) yield { versions: part };
    },
    async bucket({ name, freshness, at }, { signal }) {
      return { bucket: await source.bucket(name, toReadOptions(freshness, signal), at) };
    },
    async *buckets({ freshness }, { signal }) {
      const buckets = await source.buckets(toReadOptions(freshness, signal));
      for (const part of parts(buckets, ({ settings }) => settings.encryption.length + 128)) yield { buckets: part };
    },
    async revision({ freshness }, { signal }) {
      return { revision: await source.revision(toReadOptions(freshness, signal)) };
    },
  });
}

/** Bytes after which a message of a stream is sent. */
const messageSize = 262_144;

/** About how many bytes a file takes in a message. */
function sizeOf(file: StoredFile | undefined): number {
  if (file === undefined) return 0;
  const { inline, target, contentType, metadata } = file.content;
  let size = 128 + inline.length + target.length + contentType.length;
  for (const { name, value } of metadata) size += 8 + name.length + value.length;
  return size;
}

/** The items in pieces of about `messageSize` bytes. */
function* parts<T>(items: readonly T[], sizeOfItem: (item: T) => number): Generator<readonly T[], void, undefined> {
  let begin = 0;
  let size = 0;
  for (let index = 0; index < items.length; index++) {
    size += sizeOfItem(items[index] as T) + 16;
    if (size < messageSize && index < items.length - 1) continue;
    yield items.slice(begin, index + 1);
    begin = index + 1;
    size = 0;
  }
}
