/** Reads of snapshots over the network: the contract, and the half of the member that has the replica. */
import { bytes, embed, message, oneOf, optional, pieces, repeated, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { contract, implement, serverStream } from "../../rpc/index.ts";
import type { Service } from "../../rpc/index.ts";
import { StoredFile } from "../file/file-operation.ts";
import { Freshness, toReadOptions } from "../freshness-message.ts";
import { StoredRecord } from "../key/key-operation.ts";
import { StoredSnapshot } from "./snapshot-operation.ts";
import type { Difference, NamedSnapshot, SnapshotSource } from "./snapshot-source.ts";

const ListRequest = message("holdfast.snapshot.ListRequest", { freshness: embed(1, Freshness) });
const Named = message("holdfast.snapshot.Named", { name: string(1), snapshot: embed(2, StoredSnapshot) });
const ListResponse = message("holdfast.snapshot.ListResponse", { snapshots: repeated(embed(1, Named)) });

const KeyChoice = message("holdfast.snapshot.KeyChoice", { prefix: bytes(1) });
const FileChoice = message("holdfast.snapshot.FileChoice", { bucket: optional(string(1)), prefix: bytes(2) });
const DiffRequest = message("holdfast.snapshot.DiffRequest", {
  before: uint64(1),
  /** Absent: the present state. */
  after: optional(uint64(2)),
  keys: embed(3, KeyChoice),
  files: embed(4, FileChoice),
  freshness: embed(5, Freshness),
});
/** A version that is absent was, or is, not there. */
const KeyDifference = message("holdfast.snapshot.KeyDifference", {
  key: bytes(1),
  before: embed(2, StoredRecord),
  after: embed(3, StoredRecord),
});
const FileDifference = message("holdfast.snapshot.FileDifference", {
  bucket: string(1),
  path: bytes(2),
  before: embed(3, StoredFile),
  after: embed(4, StoredFile),
});
const WireDifference = message("holdfast.snapshot.Difference", {
  difference: oneOf({ key: embed(1, KeyDifference), file: embed(2, FileDifference) }),
});
type WireDifference = Infer<typeof WireDifference>;
const DiffResponse = message("holdfast.snapshot.DiffResponse", { differences: repeated(embed(1, WireDifference)) });

export const SnapshotService = contract("holdfast.snapshot.Snapshots", {
  list: serverStream(1, ListRequest, ListResponse),
  diff: serverStream(2, DiffRequest, DiffResponse),
});

/** Bytes after which a message of a stream is sent, and snapshots. */
const messageSize = 262_144;
const listCount = 1_024;

export function snapshotService(source: SnapshotSource): Service {
  return implement(SnapshotService, {
    async *list({ freshness }, { signal }) {
      const all = await source.snapshots(toReadOptions(freshness, signal));
      for (let begin = 0; begin < all.length; begin += listCount) {
        yield { snapshots: all.slice(begin, begin + listCount).map(({ name, ...snapshot }) => ({ name, snapshot })) };
      }
    },
    async *diff({ freshness, ...query }, { signal }) {
      for await (const batch of source.diff(query, toReadOptions(freshness, signal))) {
        for (const differences of pieces(batch.map(toWire), messageSize, sizeOf)) yield { differences };
      }
    },
  });
}

function toWire(one: Difference): WireDifference {
  const { type, ...value } = one;
  return { difference: { case: type, value } as WireDifference["difference"] };
}

function sizeOf({ difference }: WireDifference): number {
  if (difference?.case === "key") {
    const { key, before, after } = difference.value;
    return 64 + key.length + (before?.value.length ?? 0) + (after?.value.length ?? 0);
  }
  // Two entries of files, which are bounded.
  return 1_024 + 2 * (difference?.value.path.length ?? 0);
}

/** Undefined for what this version does not know. */
export function fromWire({ difference }: WireDifference): Difference | undefined {
  if (difference?.case === "key") {
    const { key, before, after } = difference.value;
    return { type: "key", key, before, after };
  }
  if (difference === undefined) return undefined;
  const { bucket, path, before, after } = difference.value;
  // A file has a content, whatever the schema says.
  type File = StoredFile | undefined;
  return { type: "file", bucket, path, before: before as File, after: after as File };
}

export function fromNamed({ name, snapshot }: Infer<typeof Named>): NamedSnapshot {
  const { revision = 0, position = 0, timeMs = 0, sealed = false, rootHash, count = 0 } = snapshot ?? {};
  return { name, revision, position, timeMs, sealed, rootHash: rootHash ?? new Uint8Array(0), count };
}
