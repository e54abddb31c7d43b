/**
 * Who the member in a data directory is, in the file `member`. A directory without that file belongs to nobody.
 *
 *  1. An id is drawn at random when the file is first written, and never again for this file: an empty directory is
 *     another member, whatever its name.
 *  2. While the member waits for its cluster, nothing of the identity changes but where it is reached. A directory that
 *     is started with other intentions (another name, other peers) gets another id.
 *  3. `cluster` is written once. With it goes all that the member needs to begin: its log's base and its tree's seed. So
 *     a cluster is founded for a member, or joined, at one moment: when that write is durable.
 *
 * After a crash: the file is whole, as it was before the last `save` or after it.
 *
 * Format: docs/format.md, "Identity of a member".
 */
import {
  bool,
  bytes,
  concatBytes,
  embed,
  equalBytes,
  HoldfastError,
  message,
  readUint32LE,
  repeated,
  string,
  uint64,
  utf8Encode,
  writeUint32LE,
} from "../../base/index.ts";
import type { Env, Infer, Random } from "../../base/index.ts";
import { Configuration, emptyConfiguration } from "../../raft/index.ts";
import type { Base, MemberId } from "../../raft/index.ts";

export const Identity = message("holdfast.member.Identity", {
  /** 1 to 2^48 - 1. */
  id: uint64(1),
  name: string(2),
  /** 16 bytes; none while it waits for its cluster. */
  cluster: bytes(3),
  /** 16 bytes, with `cluster`: the seed of the tree of all members. */
  seed: bytes(4),
  /** With `cluster`: what the cluster was founded with. */
  founding: embed(5, Configuration),
  /** The directory held a store of its own, from which the cluster begins, and where its log ended. */
  data: bool(6),
  position: uint64(7),
  /** Names of the founders it waits for, its own among them, in ascending order; none for one that joins. */
  peers: repeated(string(8)),
  /** Where it listened last, and where others reach it. */
  listen: repeated(string(9)),
  address: string(10),
  zone: string(11),
  /** For a member that joined: the configuration that it became a learner by, so that it knows whom to answer. */
  joined: embed(12, Configuration),
  /** The member's log has been begun: without it, the directory is not whole. */
  begun: bool(13),
  /** It has been removed from its cluster, for good. */
  removed: bool(14),
});
export type Identity = Infer<typeof Identity>;

const path = "member";
const magic = utf8Encode("HFMEMBR1");
const headerSize = 12;
const idSize = 6;

/** A new id: 48 random bits, not all zero. Two of them are equal once in some 2^48 times. */
export function newMemberId(random: Random): MemberId {
  for (;;) {
    let id = 0;
    for (const byte of random.bytes(idSize)) id = id * 256 + byte;
    if (id > 0) return id;
  }
}

/** Whether the member belongs to a cluster. */
export function isFormed({ cluster }: Identity): boolean {
  return cluster.length > 0;
}

/** Where the member's log begins when there is nothing of it yet. */
export function baseOf({ founding, joined, data, position }: Identity): Base {
  // A store that was there before stands for one entry that nobody has: whoever is to follow it needs its checkpoint.
  return { index: data ? 1 : 0, term: 0, position, configuration: joined ?? founding ?? emptyConfiguration };
}

export class IdentityFile {
  readonly #env: Pick<Env, "disk" | "digest">;

  /** In the root of the disk, whose lock the caller holds. */
  constructor(env: Pick<Env, "disk" | "digest">) {
    this.#env = env;
  }

  /** Undefined where there is none. `corrupt`, naming the file, when it is damaged. */
  async load(): Promise<Identity | undefined> {
    const whole = await this.#read();
    if (whole === undefined) return undefined;
    const body = whole.subarray(headerSize);
    const sound =
      whole.length >= headerSize &&
      equalBytes(whole.subarray(0, magic.length), magic) &&
      readUint32LE(whole, magic.length) === this.#env.digest.crc32(body);
    if (sound) return Identity.decode(body);
    throw new HoldfastError(
      "corrupt",
      `the file ${path}, which says which member this directory belongs to, is damaged (offset 0): put it back from a backup, or replace the member: start a new one in an empty directory with --join and --replace`,
    );
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      const file = await this.#env.disk.open(path, "read");
      try {
        return await file.read(0, await file.size());
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "notFound") return undefined;
      throw error;
    }
  }

  /** Durable when it resolves. */
  async save(identity: Identity): Promise<void> {
    const { disk, digest } = this.#env;
    const body = Identity.encode(identity);
    const header = new Uint8Array(headerSize);
    header.set(magic);
    writeUint32LE(header, magic.length, digest.crc32(body));
    const file = await disk.open(`${path}.new`, "write");
    try {
      await file.truncate(0);
      await file.write([concatBytes([header, body])], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(`${path}.new`, path);
    await disk.syncDirectory("");
  }
}

/** `invalid` unless a member may be called that: people write names in lists of `name=address`. */
export function checkMemberName(name: unknown): void {
  if (typeof name === "string" && /^[^\s,=/]{1,64}$/.test(name)) return;
  throw new HoldfastError(
    "invalid",
    `${JSON.stringify(name)} is no name for a member; give 1 to 64 characters without space, comma, "=" and "/"`,
  );
}
