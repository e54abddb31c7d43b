/** What the tests of trees share: a store in memory with its files, beside file systems in memory. */
import assert from "node:assert/strict";
import type { FileSystem, Revision } from "../base/index.ts";
import { pathText } from "../base/index.ts";
import { MemoryBlobStore, PlainPipeline } from "../blob/index.ts";
import type { Hash, NamedBlob } from "../blob/index.ts";
import { NodeCipher } from "../host/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { LocalFiles, LocalLeases } from "../view/index.ts";
import { Member } from "../view/fixture.suite.ts";
import { FileAccess } from "./file-access.ts";
import type { FileParts } from "./file-parts.ts";
import type { TreeParts } from "./tree.ts";
import type { TreeEvent } from "./tree.ts";

export interface TestStore {
  /** Moves the wall clock. */
  readonly wall: { offsetMs: number };
  readonly parts: FileParts;
  /** Chunks that were really put, and asked for. */
  readonly traffic: { putCount: number; getCount: number };
  /** A machine whose trees go in and out. */
  machine(fileSystem: FileSystem): TreeParts;
  /** Files whose uploads read this machine. Closed with the store. */
  accessOf(machine: TreeParts): FileAccess;
  close(): Promise<void>;
}

export async function openTestStore(seed = "trees"): Promise<TestStore> {
  const member = new Member(seed);
  const replica = await member.open();
  const env = { ...member.env, cipher: new NodeCipher() };
  const blobs = new MemoryBlobStore(env);
  const traffic = { putCount: 0, getCount: 0 };
  const chunks = {
    touch: (hashes: readonly Hash[], _: Revision) => blobs.touch(hashes),
    putStored: (named: readonly NamedBlob[]) => {
      traffic.putCount += named.length;
      return blobs.putStored(named);
    },
    getStored: (hash: Hash) => {
      traffic.getCount++;
      return blobs.getStored(hash);
    },
    sync: () => blobs.sync(),
  };
  const parts: FileParts = {
    env,
    source: new LocalFiles(env.clock, replica),
    view: member.views.file,
    leases: new LocalLeases(replica),
    leaseView: member.views.lease,
    chunks,
    pipeline: new PlainPipeline(env),
  };
  const opened: FileAccess[] = [];
  return {
    wall: member.env.wall,
    parts,
    traffic,
    machine: (fileSystem) => ({ env, chunks, fileSystem, pipeline: new PlainPipeline(env, fileSystem) }),
    accessOf: (machine) => {
      const access = new FileAccess({ ...parts, pipeline: machine.pipeline });
      opened.push(access);
      return access;
    },
    close: async () => {
      for (const access of opened) await access.close();
      await replica.close();
    },
  };
}

/** Writes a file as any program would. */
export async function write(
  fileSystem: FileSystem,
  path: string,
  content: string | Uint8Array,
  mode = 0o644,
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const file = await fileSystem.create(path);
  await file.truncate(0);
  await file.write(bytes, 0);
  await file.close();
  await fileSystem.setAttributes(path, { mode });
}

export async function read(fileSystem: FileSystem, path: string): Promise<string> {
  return pathText(await readBytes(fileSystem, path));
}

export async function readBytes(fileSystem: FileSystem, path: string): Promise<Uint8Array> {
  const file = await fileSystem.open(path);
  const { size } = await file.stat();
  const bytes = await file.read(0, size);
  await file.close();
  return bytes;
}

/** Everything below a folder, as plain text: what two trees that are alike have in common. */
export async function picture(
  fileSystem: FileSystem,
  root: string,
  { times = true }: { readonly times?: boolean } = {},
): Promise<string[]> {
  const lines: string[] = [];
  const inodes = new Map<bigint, string>();
  const visit = async (folder: string) => {
    for (const { name, stat } of await fileSystem.list(`${root}${folder}`)) {
      const path = `${folder}/${name}`;
      const attributes = `${stat.uid}:${stat.gid} ${times ? stat.modifiedNs : ""}`;
      if (stat.type === "link") lines.push(`${path} -> ${await fileSystem.readLink(root + path)} ${attributes}`);
      else if (stat.type === "folder") {
        lines.push(`${path}/ ${stat.mode.toString(8)} ${attributes}`);
        await visit(path);
      } else if (stat.type === "file") {
        const first = inodes.get(stat.inode) ?? path;
        inodes.set(stat.inode, first);
        const same = first === path ? "" : `= ${first} `;
        const bytes = await readBytes(fileSystem, root + path);
        lines.push(`${path} ${stat.mode.toString(8)} ${attributes} ${same}${Buffer.from(bytes).toString("base64")}`);
      }
    }
  };
  await visit("");
  return lines;
}

/** Gathers what was reported, as `type path`. */
export class Reports {
  readonly lines: string[] = [];
  readonly errors: string[] = [];
  readonly add = ({ type, path, error }: TreeEvent): void => {
    this.lines.push(`${type} ${path}`);
    if (error !== undefined) this.errors.push(error.message);
  };

  /** Takes what there is. */
  take(): string[] {
    return this.lines.splice(0).toSorted();
  }
}

/** A file system in memory with a folder `/tree` that has everything that a tree can have. */
export async function oddTree(): Promise<MemoryFileSystem> {
  const disk = new MemoryFileSystem();
  await disk.makeFolder("/tree", 0o755);
  for (const [folder, mode] of [
    ["a", 0o750],
    ["a/empty", 0o700],
    ["a-b", 0o755],
    ["a/x", 0o555],
  ] as const) {
    await disk.makeFolder(`/tree/${folder}`, mode);
  }
  await write(disk, "/tree/a/x/deep", "deep");
  await write(disk, "/tree/a-b/between", "b");
  await write(disk, "/tree/a.txt", "small", 0o4755);
  await write(disk, "/tree/zero", "");
  await write(disk, "/tree/large", noise(1_500_000, 1));
  await write(disk, "/tree/sparse", new Uint8Array(3_000_000).fill(7, 2_000_000, 2_000_100));
  for (const name of ["-rf", "\n", " ", "*?[", "ünï", "\u{1f600}", "\udcff\udc80", "...", "\\"]) {
    await write(disk, `/tree/a/${name}`, `odd ${JSON.stringify(name)}`);
  }
  await disk.linkFile("/tree/large", "/tree/a/large too");
  await disk.linkFile("/tree/a.txt", "/tree/a-b/small too");
  await disk.makeLink("/tree/link", "a/../nowhere");
  await disk.makeLink("/tree/a/up", "../..");
  disk.makeOther("/tree/socket");
  await disk.setAttributes("/tree/a.txt", { uid: 1_000, gid: 100, modifiedNs: 1_234_567_890_123_456_789n });
  await disk.setAttributes("/tree/a", { modifiedNs: -1n });
  return disk;
}

/** Bytes that look like chance and are the same every time. */
export function noise(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed * 2_654_435_761 + 1;
  for (let index = 0; index < size; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** `assert.deepEqual` of sorted lines. */
export function sameLines(actual: readonly string[], expected: readonly string[]): void {
  assert.deepEqual(actual.toSorted(), expected.toSorted());
}
