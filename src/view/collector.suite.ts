/**
 * A store on one machine with file chunks and a collector, without the layers above: what clients do to it is a few steps
 * here. What it holds can be compared with what its states need.
 */
import nodeAssert from "node:assert/strict";
import { assert, HoldfastError, toHex, writeUint64LE } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { ContentWalker, PackBlobStore } from "../blob/index.ts";
import type { Hash } from "../blob/index.ts";
import { FileEngine } from "../log/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Machine, Prng } from "../sim/index.ts";
import { reachable } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import { DiskCheckpoints } from "./checkpoint.ts";
import { fileChanges } from "./collector-contents.ts";
import { Collector } from "./collector.ts";
import type { CollectionOptions, CollectorParts } from "./collector.ts";
import type { CollectionProgress } from "./collector-run.ts";
import { operation } from "./command.ts";
import type { CommandOutcome, Operation } from "./command.ts";
import type { FileOperation } from "./file/file-operation.ts";
import { FileView } from "./file/file-view.ts";
import { fileViewId } from "./file/layout.ts";
import { Replica } from "./replica.ts";
import { readSnapshots } from "./snapshot/layout.ts";
import type { SnapshotOperation } from "./snapshot/snapshot-operation.ts";
import type { View } from "./view.ts";
import { makeViews } from "./views.ts";

const views = makeViews();
const file = new FileView();
const all: readonly View[] = [...views.all.filter(({ id }) => id !== fileViewId), file as unknown as View];

export interface TestContent {
  readonly hash: Hash;
  readonly depth: number;
  readonly size: number;
  /** All its blobs, by name, children first. */
  readonly blobs: ReadonlyMap<string, { readonly hash: Hash; readonly bytes: Uint8Array }>;
}

/** A chunk list as docs/format.md has it. */
export function listBytes(level: number, children: readonly Pick<TestContent, "hash" | "size">[]): Uint8Array {
  const bytes = new Uint8Array(8 + 40 * children.length);
  bytes.set([0x48, 0x46, 0x46, 0x4c, 1, level, children.length]);
  for (const [index, { hash, size }] of children.entries()) {
    bytes.set(hash, 8 + 40 * index);
    writeUint64LE(bytes, 40 + 40 * index, size);
  }
  return bytes;
}

export function chunkContent(env: Pick<Env, "digest">, bytes: Uint8Array): TestContent {
  const hash = env.digest.sha256(bytes);
  return { hash, depth: 0, size: bytes.length, blobs: new Map([[toHex(hash), { hash, bytes }]]) };
}

export function listContent(env: Pick<Env, "digest">, children: readonly TestContent[]): TestContent {
  const [first] = children;
  assert(first !== undefined, "a list has children");
  const bytes = listBytes(first.depth + 1, children);
  const hash = env.digest.sha256(bytes);
  const blobs = new Map(children.flatMap((child) => [...child.blobs]));
  blobs.set(toHex(hash), { hash, bytes });
  const size = children.reduce((sum, child) => sum + child.size, 0);
  return { hash, depth: first.depth + 1, size, blobs };
}

/** Of few chunks, so that contents share some. */
export function randomContent(env: Pick<Env, "digest">, dice: Prng): TestContent {
  const chunk = () => {
    const bytes = new Uint8Array(60).fill(dice.below(80));
    return chunkContent(env, bytes);
  };
  const list = () => listContent(env, Array.from({ length: 2 + dice.below(3) }, chunk));
  const kind = dice.below(10);
  if (kind < 4) return chunk();
  if (kind < 8) return list();
  if (kind < 9) return listContent(env, [list(), list()]);
  // The bytes of a list as the only chunk of a file.
  const some = list();
  return chunkContent(env, some.blobs.get(toHex(some.hash))?.bytes ?? new Uint8Array(1));
}

export class FileWorld {
  readonly env: Env;
  readonly log: FileEngine;
  readonly pages: PackBlobStore;
  readonly chunks: PackBlobStore;
  readonly checkpoints: DiskCheckpoints;
  readonly replica: Replica;
  readonly collector: Collector;

  private constructor(
    env: Env,
    parts: Pick<FileWorld, "log" | "pages" | "chunks" | "checkpoints" | "replica">,
    more: Partial<CollectorParts>,
  ) {
    this.env = env;
    ({ log: this.log, pages: this.pages, chunks: this.chunks, checkpoints: this.checkpoints } = parts);
    this.replica = parts.replica;
    const { replica, pages, chunks } = this;
    this.collector = new Collector(
      env,
      { replica, pages, chunks, ...more },
      {
        startMs: Number.POSITIVE_INFINITY,
        // Slow, so that much happens meanwhile.
        rate: 4_000_000,
      },
    );
  }

  static async open(env: Env, more: Partial<CollectorParts> = {}): Promise<FileWorld> {
    const pages = await PackBlobStore.open(env, "blobs", { packSizeMax: 65_536 });
    const chunks = await PackBlobStore.open(env, "chunks", { packSizeMax: 65_536 });
    const log = await FileEngine.open(env, "log", { segmentSizeMin: 16_384, segmentSizeMax: 32_768 });
    const checkpoints = new DiskCheckpoints(env, "checkpoints");
    const seed = new Uint8Array(16).fill(5);
    const options = { checkpointLogSizeMin: Number.POSITIVE_INFINITY };
    const replica = await Replica.open(env, { log, blobs: pages, checkpoints, views: all, seed }, options);
    return new FileWorld(env, { log, pages, chunks, checkpoints, replica }, more);
  }

  async close(): Promise<void> {
    await this.collector.close();
    await this.replica.close();
    await this.pages.close();
    await this.chunks.close();
    await this.log.close();
  }

  propose(...operations: Operation[]): Promise<CommandOutcome> {
    return this.replica.propose(operations);
  }

  file(body: NonNullable<FileOperation["operation"]>): Operation {
    return operation(file, { operation: body });
  }

  snapshot(body: NonNullable<SnapshotOperation["operation"]>): Operation {
    return operation(views.snapshot, { operation: body });
  }

  key(name: string, value: string): Operation {
    const put = { key: new TextEncoder().encode(name), value: new TextEncoder().encode(value) };
    return operation(views.key, { operation: { case: "put", value: put } });
  }

  revoke(lease: bigint): Operation {
    return operation(views.lease, { operation: { case: "revoke", value: { lease } } });
  }

  /** Gives the revision at which it begins. */
  async beginUpload(lease: bigint): Promise<void> {
    const grant = operation(views.lease, { operation: { case: "grant", value: { lease, ttlMs: 60_000 } } });
    const outcome = await this.propose(grant, this.file({ case: "beginUpload", value: { lease } }));
    assert(outcome.ok, `an upload begins: ${outcome.ok ? "" : outcome.message}`);
  }

  /** As a client does: asks what is here, brings the rest, makes it durable. */
  async upload(content: TestContent): Promise<void> {
    const blobs = [...content.blobs.values()];
    const there = await this.chunks.touch(blobs.map(({ hash }) => hash));
    for (const [index, { hash, bytes }] of blobs.entries()) {
      if (there[index] === true) continue;
      await this.chunks.putStored([{ hash, blob: { size: bytes.length, compressed: false, bytes: bytes.slice() } }]);
    }
    await this.chunks.sync();
  }

  put(bucket: string, path: string, { hash, depth, size }: TestContent, upload: bigint): Operation {
    const content = { type: "file", size, hash, depth } as const;
    const value = { bucket, path: new TextEncoder().encode(path), content, upload };
    return this.file({ case: "put", value });
  }

  /** Begins an upload, puts a file, and ends the upload. */
  async putFile(bucket: string, path: string, content: TestContent, lease: bigint): Promise<void> {
    await this.beginUpload(lease);
    await this.upload(content);
    const outcome = await this.propose(this.put(bucket, path, content, lease));
    assert(outcome.ok, `a file is put: ${outcome.ok ? "" : outcome.message}`);
    await this.propose(this.revoke(lease));
  }

  async collect(options: CollectionOptions = {}): Promise<CollectionProgress> {
    let last: CollectionProgress | undefined;
    for await (const progress of this.collector.collect(options)) last = progress;
    assert(last?.phase === "done", "it comes to its end");
    return last;
  }

  /** What files and pins need of chunks, and whether all of it is here: names in hexadecimal digits. */
  async neededChunks(): Promise<{ readonly needed: Set<string>; readonly missing: string[] }> {
    const state = this.replica.snapshot();
    const needed = new Set<string>();
    const missing: string[] = [];
    try {
      await this.#addChunks(state.tree, "now", needed, missing);
      for (const { revision, name } of await readSnapshots(state.tree)) {
        const pin = this.replica.pinAt(revision);
        if (pin === undefined) continue;
        await this.#addChunks(pin.tree, name, needed, missing);
        pin.release();
      }
    } finally {
      state.release();
    }
    return { needed, missing };
  }

  async #addChunks(
    tree: Parameters<typeof fileChanges>[1],
    what: string,
    needed: Set<string>,
    missing: string[],
  ): Promise<void> {
    const { clock } = this.env;
    for await (const changes of fileChanges(undefined, tree, { clock })) {
      for (const { after } of changes) {
        if (after === undefined) continue;
        const { bucket, path } = after.place();
        const blame = (hash: Hash) =>
          missing.push(`${what} ${bucket}:${new TextDecoder().decode(path)} needs ${toHex(hash)}`);
        const walker = new ContentWalker({ get: (hash) => this.chunks.get(hash), unreadable: blame });
        for await (const hashes of walker.walk(after)) {
          for (const hash of hashes) {
            needed.add(toHex(hash));
            if (!(await this.chunks.has(hash))) blame(hash);
          }
        }
      }
    }
  }

  /** The pages of what is kept, and those that the store has. */
  async pagesNeededAndHere(): Promise<readonly [Set<string>, Set<string>]> {
    const needed = new Set<string>();
    const kept = (await this.checkpoints.load()).map(rootOf);
    const state = this.replica.snapshot();
    const { seed } = this.replica.lastCheckpoint;
    for (const { sealed, rootHash, count, revision } of await readSnapshots(state.tree)) {
      assert(sealed || this.replica.pinAt(revision) !== undefined, "a snapshot is pinned");
      if (sealed) kept.push({ hash: rootHash, seed, count });
    }
    state.release();
    for (const root of kept) {
      for await (const hashes of reachable(this.pages, root)) for (const hash of hashes) needed.add(toHex(hash));
    }
    const here = new Set<string>();
    for await (const { hash } of this.pages.list()) here.add(toHex(hash));
    return [needed, here];
  }

  async chunksHere(): Promise<Set<string>> {
    const here = new Set<string>();
    for await (const { hash } of this.chunks.list()) here.add(toHex(hash));
    return here;
  }
}

/** A collection that had to give way to something else is no failure. */
export function unlessBusy(error: unknown): void {
  if (!(error instanceof HoldfastError) || !["unavailable", "cancelled"].includes(error.code)) throw error;
}

export interface Scene {
  readonly machine: Machine;
  readonly env: Env;
  readonly world: FileWorld;
  readonly run: <T>(promise: Promise<T>) => Promise<T>;
  readonly simulator: Simulator;
}

export async function scene(seed: string, more: Parameters<typeof FileWorld.open>[1] = {}): Promise<Scene> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const run = <T>(promise: Promise<T>) => simulator.run(promise);
  const world = await run(FileWorld.open(machine.env, more));
  return { simulator, machine, env: machine.env, world, run };
}

export const text = (value: string) => new TextEncoder().encode(value);

export function bucket(world: FileWorld, settings: object) {
  const value = { bucket: "b", settings, mustBeNew: false };
  return world.propose(world.file({ case: "setBucket", value }));
}

export function remove(world: FileWorld, path: string) {
  const value = { bucket: "b", path: text(path), prefix: false } as const;
  return world.propose(world.file({ case: "delete", value }));
}

/** Until no kept checkpoint knows what was forgotten. */
export async function settle(world: FileWorld): Promise<void> {
  for (let round = 0; round < 3; round++) {
    await world.propose(world.key("settle", String(round)));
    await world.replica.checkpoint();
  }
}

export async function exactlyReachable(world: FileWorld): Promise<void> {
  const { needed, missing } = await world.neededChunks();
  nodeAssert.deepEqual(missing, []);
  nodeAssert.deepEqual(
    [...(await world.chunksHere())].toSorted(),
    [...needed].toSorted(),
    "the chunks that are needed",
  );
  const [pages, here] = await world.pagesNeededAndHere();
  nodeAssert.deepEqual([...here].toSorted(), [...pages].toSorted(), "the pages that are needed");
}
