/**
 * A member that was left behind gets the others' state: over the simulated network, into packs on a simulated disk, while
 * the others go on, die, lie or forget, and while it crashes itself.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { giveWay, HoldfastError, position, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { BlobService, blobService, PackBlobStore } from "../../blob/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { implement, RpcClient, RpcServer } from "../../rpc/index.ts";
import { Prng, Simulator } from "../../sim/index.ts";
import { emptyTree, openTree, verify } from "../../tree/index.ts";
import type { FetchProgress, Flushed, TreeEdit } from "../../tree/index.ts";
import { DiskCheckpoints, rootOf } from "../../view/index.ts";
import type { CheckpointRecord } from "../../view/index.ts";
import { catchUp, checkpointService } from "./catch-up.ts";
import type { CatchUpPeer, CaughtUp } from "./catch-up.ts";

const seed = new Prng("tree").bytes(16);
const options = { packSizeMax: 262_144 };

/** Changes the state as the record at this position says: the same on every member. */
function apply(tree: TreeEdit, at: number): void {
  const dice = new Prng(`record ${at}`);
  for (let number = 0; number < 4; number++) {
    const key = new TextEncoder().encode(`key ${dice.below(1_200)}`);
    if (dice.chance(0.1)) tree.remove(key);
    else tree.set(key, dice.bytes(dice.chance(0.02) ? 2_100 : dice.below(200)));
  }
}

/** What a replica is to catching up, without a log: its records are known by their positions. */
class State implements CaughtUp {
  readonly env: Env;
  readonly blobs: PackBlobStore;
  readonly checkpoints: DiskCheckpoints;
  tree: TreeEdit;
  lastCheckpoint: CheckpointRecord;
  applied: number;
  holderCount = 0;
  #lastFlushed: Flushed | undefined;

  private constructor(env: Env, blobs: PackBlobStore, tree: TreeEdit, last: CheckpointRecord) {
    this.env = env;
    this.blobs = blobs;
    this.checkpoints = new DiskCheckpoints(env, "checkpoints");
    this.tree = tree;
    this.lastCheckpoint = last;
    this.applied = last.position;
  }

  static async open(env: Env, treeSeed = seed): Promise<State> {
    const blobs = await PackBlobStore.open(env, "blobs", options);
    const [kept] = await new DiskCheckpoints(env, "checkpoints").load();
    const last = kept ?? { position: 0, revision: 0, timeMs: 0, rootHash: new Uint8Array(0), seed: treeSeed, count: 0 };
    const root = last.rootHash.length === 0 ? emptyTree(treeSeed) : rootOf(last);
    return new State(env, blobs, await openTree(env, blobs, root, { cacheSizeMax: 100_000_000 }), last);
  }

  /** Applies records up to a position, and takes a checkpoint there. */
  async goTo(to: number): Promise<void> {
    await this.#fill();
    while (this.applied < to) apply(this.tree, this.applied++);
    await this.checkpoint();
  }

  /** All pages into memory, so that edits miss none. */
  async #fill(): Promise<void> {
    const all = this.tree.freeze();
    const keys: Uint8Array[] = [];
    for await (const entries of all.entries()) for (const { key } of entries) keys.push(key);
    all.release();
    await this.tree.prefetch(keys);
  }

  async checkpoint(): Promise<CheckpointRecord> {
    if (this.applied === this.lastCheckpoint.position) return this.lastCheckpoint;
    const at = this.applied;
    const flushed = await this.tree.flush();
    const { hash, count } = flushed.root;
    const record = { position: at, revision: at, timeMs: at, rootHash: hash ?? new Uint8Array(0), seed, count };
    await this.checkpoints.save(record);
    this.lastCheckpoint = record;
    if (this.#lastFlushed !== undefined && this.holderCount === 0) await this.tree.collect(this.#lastFlushed);
    this.#lastFlushed = flushed;
    return record;
  }

  async holdBlobs(): Promise<() => void> {
    this.holderCount++;
    return () => void this.holderCount--;
  }

  async install(record: CheckpointRecord): Promise<void> {
    assert.equal(this.holderCount, 1, "what has come may be deleted before the record is durable");
    if (record.position <= this.applied) return;
    this.tree = await openTree(this.env, this.blobs, rootOf(record));
    await this.checkpoints.save(record);
    this.#lastFlushed = undefined;
    this.lastCheckpoint = record;
    this.applied = record.position;
  }

  async assertWhole(): Promise<void> {
    const { problems } = await verify(this.env, this.blobs, rootOf(this.lastCheckpoint));
    assert.deepEqual(
      problems.map(({ what }) => what),
      [],
    );
  }
}

interface Serving {
  readonly holdMs?: number;
  /** Instead of the right bytes. */
  readonly lie?: boolean;
}

class World {
  readonly simulator: Simulator;
  readonly peers: CatchUpPeer[] = [];
  readonly clients: RpcClient[] = [];

  constructor(name: string) {
    this.simulator = new Simulator({ seed: name, drain: nextTurn, digest: new NodeDigest() });
  }

  /** A member with a state that others may fetch. */
  async member(name: string, at: number, serving: Serving = {}): Promise<State> {
    const { env } = this.simulator.machine(name);
    const state = await State.open(env);
    // Two checkpoints, as a member has.
    await state.goTo(Math.floor(at / 2));
    await state.goTo(at);
    await this.serve(env, name, state, serving);
    return state;
  }

  async serve(env: Env, name: string, state: State, { holdMs, lie = false }: Serving): Promise<void> {
    const checkpoints = checkpointService(env, state, holdMs === undefined ? {} : { holdMs });
    const liar = implement(BlobService, {
      async *get({ hashes }) {
        const [hash] = hashes;
        const bytes = hash === undefined ? undefined : await state.blobs.get(hash);
        if (bytes === undefined) return;
        bytes[5] = (bytes[5] as number) ^ 1;
        yield { parts: [{ index: 0, size: bytes.length, bytes }] };
      },
    });
    await new RpcServer(env, [lie ? liar : blobService(env, state.blobs), checkpoints]).listen(`${name}:1`);
  }

  /** The other members, as this one reaches them. */
  connect(env: Env, names: readonly string[]): void {
    this.peers.length = 0;
    for (const name of names) {
      const client = new RpcClient(env, `${name}:1`, { backoffMaxMs: 500 });
      this.clients.push(client);
      this.peers.push({ name, client });
    }
  }

  /** Catches `state` up; gives what was fetched. */
  async catchUp(
    state: State,
    to: number,
    more: { signal?: AbortSignal; progress?: (progress: FetchProgress) => void } = {},
  ): Promise<FetchProgress> {
    let last: FetchProgress = { blobCount: 0, size: 0 };
    const parts = {
      replica: state,
      blobs: state.blobs,
      peers: () => this.peers,
      fetching: new DiskCheckpoints(state.env, "fetching"),
      progress: (_: CheckpointRecord, progress: FetchProgress) => {
        assert.equal(state.holderCount, 1, "what is here may be deleted while it is counted on");
        last = progress;
        more.progress?.(progress);
      },
    };
    await catchUp(state.env, parts, position(to), more.signal ?? new AbortController().signal);
    return last;
  }
}

function simulated(title: string, body: (world: World) => Promise<void>): void {
  test(title, async () => {
    const world = new World(title);
    await world.simulator.run(body(world));
  });
}

const sameRoot = (a: State, b: State) =>
  assert.equal(toHex(a.lastCheckpoint.rootHash), toHex(b.lastCheckpoint.rootHash));

simulated("an empty member gets the newest checkpoint, from all members", async (world) => {
  const states = [await world.member("a", 300), await world.member("b", 420), await world.member("c", 360)];
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["a", "b", "c"]);
  await world.catchUp(state, 200);
  assert.equal(state.applied, 420);
  sameRoot(state, states[1] as State);
  await state.assertWhole();
  // What was installed is durable, and nobody holds anything any more.
  const { simulator } = world;
  simulator.machine("d").crash({ unsynced: "lost" });
  const again = await State.open(simulator.machine("d").restart());
  assert.equal(again.applied, 420);
  await again.assertWhole();
  await released(world, states);
});

simulated("a member that is a little behind fetches a little", async (world) => {
  await world.member("a", 400);
  const state = await State.open(world.simulator.machine("d").env);
  await state.goTo(395);
  world.connect(state.env, ["a"]);
  const { blobCount } = await world.catchUp(state, 396);
  assert.equal(state.applied, 400);
  assert.ok(blobCount > 0 && blobCount < 30, `${blobCount} blobs`);
  await state.assertWhole();
});

simulated("nothing is fetched when the state is there already, or comes by itself", async (world) => {
  const state = await State.open(world.simulator.machine("d").env);
  await state.goTo(50);
  await world.catchUp(state, 50);
  const waiting = world.catchUp(state, 60);
  await giveWay(state.env.clock);
  await state.goTo(60);
  await waiting;
  assert.equal(state.applied, 60);
});

simulated("members that have only older checkpoints are asked to take one, when they can", async (world) => {
  const a = await world.member("a", 100);
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["a"]);
  const catching = world.catchUp(state, 150);
  // It has applied no more than its checkpoint says; later it has.
  while (world.simulator.nowMs < 5_000) await new Promise<void>((resolve) => a.env.clock.schedule(100, resolve));
  assert.equal(state.applied, 0);
  while (a.applied < 155) apply(a.tree, a.applied++);
  await catching;
  assert.equal(state.applied, 155);
  await state.assertWhole();
  sameRoot(state, a);
});

simulated("the member whose checkpoint it is dies: what has come is used for another's", async (world) => {
  const { simulator } = world;
  await world.member("a", 500);
  const b = await world.member("b", 480);
  const state = await State.open(simulator.machine("d").env);
  world.connect(state.env, ["a", "b"]);
  const counts: number[] = [];
  await world.catchUp(state, 400, {
    progress({ blobCount }) {
      counts.push(blobCount);
      if (blobCount > 20 && simulator.machine("a").alive) simulator.machine("a").crash();
    },
  });
  assert.equal(simulator.machine("a").alive, false);
  assert.ok(state.applied === 480 || state.applied === 500);
  await state.assertWhole();
  if (state.applied === 480) sameRoot(state, b);
});

simulated("members that delete what is being fetched: a newer checkpoint is fetched", async (world) => {
  const states = [await world.member("a", 400, { holdMs: 1 }), await world.member("b", 400, { holdMs: 1 })];
  world.simulator.network.settings.bandwidth = 50;
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["a", "b"]);
  let moved: Promise<unknown> | undefined;
  await world.catchUp(state, 400, {
    progress({ blobCount }) {
      if (blobCount < 5) return;
      moved ??= (async () => {
        for (const to of [470, 540, 610]) await Promise.all(states.map((other) => other.goTo(to)));
      })();
    },
  });
  await moved;
  assert.ok(state.applied > 400, `at ${state.applied}`);
  await state.assertWhole();
});

simulated("members keep what is being fetched, however far they go on", async (world) => {
  const a = await world.member("a", 400);
  world.simulator.network.settings.bandwidth = 50;
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["a"]);
  let moved: Promise<unknown> | undefined;
  await world.catchUp(state, 400, {
    progress() {
      moved ??= (async () => {
        for (const to of [470, 540, 610]) await a.goTo(to);
        assert.equal(state.applied, 0, "it had fetched everything already");
      })();
    },
  });
  await moved;
  assert.equal(state.applied, 400);
  await state.assertWhole();
  await released(world, [a]);
});

simulated("a member that sends other bytes is not believed, one of another store not used", async (world) => {
  const honest = await world.member("a", 300);
  await world.member("b", 300, { lie: true });
  const { env } = world.simulator.machine("c");
  const foreign = await State.open(env, new Prng("another tree").bytes(16));
  foreign.lastCheckpoint = { ...foreign.lastCheckpoint, position: 9_999 };
  await world.serve(env, "c", foreign, {});
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["b", "c", "a"]);
  await world.catchUp(state, 300);
  assert.equal(state.applied, 300);
  sameRoot(state, honest);
  await state.assertWhole();
});

simulated("cut off for a while, slow, and with connections that break", async (world) => {
  const { simulator } = world;
  const { network } = simulator;
  await world.member("a", 300);
  await world.member("b", 300);
  const state = await State.open(simulator.machine("d").env);
  world.connect(state.env, ["a", "b"]);
  network.isolate("d");
  simulator.schedule(20_000, () => network.rejoin("d"));
  network.settings.cutChance = 0.01;
  network.slow("b", 50);
  await world.catchUp(state, 300);
  assert.ok(simulator.nowMs > 20_000 && simulator.nowMs < 60_000, `${simulator.nowMs} ms`);
  await state.assertWhole();
});

simulated("aborted it ends at once, and nobody holds anything", async (world) => {
  const a = await world.member("a", 300);
  const state = await State.open(world.simulator.machine("d").env);
  world.connect(state.env, ["a"]);
  const controller = new AbortController();
  const catching = world.catchUp(state, 300, { signal: controller.signal, progress: () => controller.abort() });
  await assert.rejects(catching, isError("cancelled"));
  assert.equal(state.holderCount, 0);
  assert.equal(state.applied, 0);
  await assert.rejects(world.catchUp(state, 300, { signal: AbortSignal.abort() }), isError("cancelled"));
  await released(world, [a]);
  // With nobody to ask, too.
  const other = new AbortController();
  world.peers.length = 0;
  state.env.clock.schedule(3_000, () => other.abort());
  await assert.rejects(world.catchUp(state, 300, { signal: other.signal }), isError("cancelled"));
});

simulated("a full disk, and a disk that has failed, are told", async (world) => {
  const { simulator } = world;
  await world.member("a", 400);
  const { disk, env } = simulator.machine("d");
  const state = await State.open(env);
  world.connect(env, ["a"]);
  disk.capacity = 60_000;
  await assert.rejects(world.catchUp(state, 400), isError("exhausted"));
  disk.capacity = Number.POSITIVE_INFINITY;
  disk.hook = ({ kind, path, phase }) => {
    if (kind !== "write" || phase !== "issued" || !path.endsWith(".pack")) return undefined;
    return new HoldfastError("unavailable", "the disk is broken");
  };
  await assert.rejects(world.catchUp(state, 400), isError("unavailable"));
  assert.equal(state.applied, 0);
});

test("a crash at any change of the disk: the old state or the new, and what has come is used", async () => {
  let changes = 0;
  const counts: number[] = [];
  let whole = 0;
  for (let distance = 0; distance === 0 || distance <= changes; distance += distance === 0 ? 1 : 3) {
    const world = new World(`crash at ${distance}`);
    const { simulator } = world;
    const machine = simulator.machine("d");
    let before = 0;
    let state: State | undefined;
    const first = (async () => {
      await world.member("a", 120);
      await world.member("b", 110);
      state = await State.open(machine.env);
      await state.goTo(40);
      before = machine.disk.changeCount;
      if (distance > 0) machine.crashAtChange(distance, distance % 2 === 0 ? "during" : "after");
      world.connect(machine.env, ["a", "b"]);
      const { blobCount } = await world.catchUp(state, 100);
      if (distance === 0) [changes, whole] = [machine.disk.changeCount - before, blobCount];
      return true;
    })();
    first.catch(() => {});
    await simulator.run(() => state?.applied === 120 || !machine.alive);
    if (machine.alive) machine.crash({ unsynced: "lost" });
    const env = machine.restart();
    await simulator.run(
      (async () => {
        const again = await State.open(env);
        assert.ok([40, 120].includes(again.applied), `distance ${distance}: at ${again.applied}`);
        await again.assertWhole();
        if (again.applied === 120) return;
        world.connect(env, ["a", "b"]);
        const { blobCount } = await world.catchUp(again, 100);
        counts.push(blobCount);
        assert.equal(again.applied, 120);
        await again.assertWhole();
      })(),
    );
  }
  assert.ok(changes > 8, `${changes} changes`);
  // At first everything was still to be fetched, in the end nothing.
  assert.ok(Math.max(...counts) === whole && Math.min(...counts) === 0, counts.join(" "));
});

/** Resolves when the members know that nobody fetches any more. */
async function released(world: World, states: readonly State[]): Promise<void> {
  const [{ env }] = states as [State];
  const endMs = world.simulator.nowMs + 60_000;
  while (states.some(({ holderCount }) => holderCount > 0)) {
    assert.ok(world.simulator.nowMs < endMs, "blobs are still held");
    await new Promise<void>((resolve) => env.clock.schedule(100, resolve));
  }
}

function isError(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}
