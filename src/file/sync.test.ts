/** Tests of synchronising folders with a bucket, on file systems in memory. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { HoldfastError } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { scale } from "../view/fixture.suite.ts";
import { conflictPath, decideSync } from "./sync-decision.ts";
import { syncTree } from "./sync.ts";
import type { SyncEvent, SyncOptions } from "./sync-options.ts";
import { noise, openTestStore, picture, read, write } from "./tree.suite.ts";
import type { TestStore } from "./tree.suite.ts";

let store: TestStore;
before(async () => {
  store = await openTestStore("sync");
});
after(() => store.close());

let bucketCount = 0;

/** A machine that synchronises its folder `/t` with the bucket. */
class Machine {
  readonly disk = new MemoryFileSystem();
  readonly events: string[] = [];
  readonly label: string;
  readonly files;
  readonly #parts;

  constructor(label: string, bucket: string) {
    this.label = label;
    this.#parts = store.machine(this.disk);
    this.files = store.accessOf(this.#parts).files(bucket);
  }

  async sync(options: Partial<SyncOptions> = {}): Promise<string[]> {
    const events: string[] = [];
    const report = ({ type, path, other }: SyncEvent) => {
      events.push(`${type} ${path}${other === undefined ? "" : ` as ${other}`}`);
    };
    await syncTree(this.#parts, this.files, "/t", "p", { label: this.label, report, ...options });
    return events.toSorted();
  }

  async picture(): Promise<string[]> {
    const lines = await picture(this.disk, "/t", { times: false });
    return lines.filter((line) => !line.includes("/.holdfast-sync"));
  }

  /** Every path of the bucket. */
  async stored(): Promise<string[]> {
    const paths: string[] = [];
    for await (const { path } of this.files.list()) paths.push(path);
    return paths;
  }
}

function pair(): [Machine, Machine] {
  const bucket = `sync-${++bucketCount}`;
  return [new Machine("A", bucket), new Machine("B", bucket)];
}

test("what changes on one machine comes to the other, and then all is quiet", async () => {
  const [a, b] = pair();
  await a.disk.makeFolder("/t", 0o755);
  await a.disk.makeFolder("/t/d", 0o750);
  await write(a.disk, "/t/d/x", "one", 0o600);
  await write(a.disk, "/t/big", noise(2_000_000, 1));
  await a.disk.makeLink("/t/l", "d/x");
  assert.deepEqual(await a.sync(), ["upload big", "upload d", "upload d/x", "upload l"]);
  assert.deepEqual(await b.sync(), ["download big", "download d", "download d/x", "download l"]);
  assert.deepEqual(await b.picture(), await a.picture());
  assert.equal((await b.disk.stat("/t/d/x"))?.modifiedNs, (await a.disk.stat("/t/d/x"))?.modifiedNs);
  assert.deepEqual([await a.sync(), await b.sync()], [[], []]);
  await write(b.disk, "/t/d/x", "two", 0o600);
  await b.disk.setAttributes("/t/big", { mode: 0o400 });
  assert.deepEqual(await b.sync({ dryRun: true }), ["upload big", "upload d/x"]);
  assert.deepEqual(await b.sync(), ["upload big", "upload d/x"]);
  assert.deepEqual(await a.sync(), ["download big", "download d/x"]);
  assert.deepEqual(await a.picture(), await b.picture());
  assert.deepEqual([await a.sync(), await b.sync()], [[], []]);
});

test("a deletion comes back, unless it is to go to the other side", async () => {
  const [a, b] = pair();
  await a.disk.makeFolder("/t", 0o755);
  await a.disk.makeFolder("/t/d", 0o755);
  for (const name of ["d/x", "y"]) await write(a.disk, `/t/${name}`, name);
  await a.sync();
  await b.sync();
  await a.disk.remove("/t/y");
  assert.deepEqual(await a.sync(), ["download y"]);
  await a.disk.remove("/t/y");
  await a.disk.remove("/t/d/x");
  await a.disk.removeFolder("/t/d");
  assert.deepEqual(await a.sync({ delete: true, dryRun: true }), [
    "deleteStored d",
    "deleteStored d/x",
    "deleteStored y",
  ]);
  assert.deepEqual(await a.sync({ delete: true }), ["deleteStored d", "deleteStored d/x", "deleteStored y"]);
  await write(b.disk, "/t/y", "changed", 0o644);
  assert.deepEqual(await b.sync({ delete: true }), ["deleteLocal d", "deleteLocal d/x", "upload y"]);
  assert.deepEqual(await a.sync({ delete: true }), ["download y"], "a change wins over a deletion");
  assert.deepEqual(await b.picture(), await a.picture());
});

test("what changed on both sides is kept under two names; what is alike is no conflict", async () => {
  const [a, b] = pair();
  await a.disk.makeFolder("/t", 0o755);
  for (const name of ["x.txt", "same"]) await write(a.disk, `/t/${name}`, "old");
  await a.sync();
  await b.sync();
  await write(a.disk, "/t/x.txt", "from a");
  await write(b.disk, "/t/x.txt", "from b");
  for (const { disk } of [a, b]) await write(disk, "/t/same", "alike");
  for (const { disk } of [a, b]) await write(disk, "/t/new", `of ${disk === a.disk ? "a" : "b"}`);
  await a.sync();
  assert.deepEqual(await b.sync(), [
    "conflict new as new (conflict B)",
    "conflict x.txt as x (conflict B).txt",
    "download same",
  ]);
  assert.equal(await read(b.disk, "/t/x.txt"), "from a");
  assert.equal(await read(b.disk, "/t/x (conflict B).txt"), "from b");
  assert.deepEqual(await a.sync(), ["download new (conflict B)", "download x (conflict B).txt"]);
  assert.deepEqual(await a.picture(), await b.picture());
  assert.deepEqual([await a.sync(), await b.sync()], [[], []]);
});

test("a file and a folder of one name: the folder keeps it", async () => {
  const [a, b] = pair();
  for (const { disk } of [a, b]) await disk.makeFolder("/t", 0o755);
  await a.disk.makeFolder("/t/n", 0o755);
  await write(a.disk, "/t/n/in", "in");
  await write(b.disk, "/t/n", "file");
  await write(a.disk, "/t/m", "file");
  await b.disk.makeFolder("/t/m", 0o755);
  await write(b.disk, "/t/m/in", "in");
  await a.sync();
  await b.sync();
  for (const one of [b, a, b, a]) await one.sync();
  assert.deepEqual(await a.picture(), await b.picture());
  assert.equal(await read(a.disk, "/t/n/in"), "in");
  assert.equal(await read(a.disk, "/t/n (conflict B)"), "file");
  assert.equal(await read(a.disk, "/t/m/in"), "in");
  assert.equal(await read(a.disk, "/t/m (conflict B)"), "file");
});

test("a file that changes while it is replaced or deleted is left for the next run", async () => {
  const [a, b] = pair();
  await a.disk.makeFolder("/t", 0o755);
  for (const name of ["x", "y"]) await write(a.disk, `/t/${name}`, "old");
  await a.sync();
  await b.sync();
  await write(a.disk, "/t/x", "new");
  await a.disk.remove("/t/y");
  await a.sync({ delete: true });
  let listed = false;
  b.disk.before = async (action, path) => {
    listed ||= action === "list";
    if (!listed || action !== "stat" || path !== "/t/x") return;
    b.disk.before = undefined;
    await write(b.disk, "/t/x", "mine");
    await write(b.disk, "/t/y", "mine too");
  };
  assert.deepEqual(await b.sync({ delete: true }), ["deleteLocal y", "download x", "skipped x", "skipped y"]);
  assert.deepEqual(await b.sync({ delete: true }), ["conflict x as x (conflict B)", "upload y"]);
  assert.equal(await read(b.disk, "/t/x (conflict B)"), "mine");
});

test("a version that came to the bucket meanwhile is not replaced", async () => {
  const [a, b] = pair();
  await a.disk.makeFolder("/t", 0o755);
  await write(a.disk, "/t/x", "old");
  await a.sync();
  await b.sync();
  await write(a.disk, "/t/x", "from a");
  await write(b.disk, "/t/x", "from b");
  a.disk.before = async (action, path) => {
    if (action !== "open" || path !== "/t/x") return;
    a.disk.before = undefined;
    await b.sync();
  };
  assert.deepEqual(await a.sync(), ["skipped x", "upload x"]);
  assert.deepEqual(await a.sync(), ["conflict x as x (conflict A)"]);
  assert.equal(await read(a.disk, "/t/x"), "from b");
});

test("the state belongs to one tree of one bucket, and damage in it is told", async () => {
  const [a] = pair();
  await a.disk.makeFolder("/t", 0o755);
  await write(a.disk, "/t/x", "x");
  await a.sync();
  await a.sync();
  const other = store.machine(a.disk);
  const files = store.accessOf(other).files("sync-other");
  await assert.rejects(syncTree(other, files, "/t", "p", { label: "A" }), /last synchronised with sync-\d+:p/);
  await assert.rejects(a.sync({ label: "a/b" }), /cannot be part of a name/);
  const text = await read(a.disk, "/t/.holdfast-sync");
  await write(a.disk, "/t/.holdfast-sync", `${text}[1,2]\n`);
  await assert.rejects(a.sync(), /line 3 of \/t\/\.holdfast-sync is damaged; remove it/);
  // What a run that was cut off has left is taken in as far as it goes.
  await write(a.disk, "/t/.holdfast-sync", text);
  await write(a.disk, "/t/.holdfast-sync-next", text.slice(0, -3));
  assert.deepEqual(await a.sync({ delete: true }), []);
  await a.disk.remove("/t/.holdfast-sync");
  assert.deepEqual(await a.sync(), []);
  // The bucket was made anew: its being empty deletes nothing.
  await a.files.delete({ prefix: "" });
  await store.accessOf(other).buckets.delete(a.files.bucket);
  await store.accessOf(other).files(a.files.bucket).put("p/z", "z");
  await assert.rejects(a.sync({ delete: true }), /not the one that the folder was synchronised with/);
  assert.equal(await read(a.disk, "/t/x"), "x");
});

test("decisions and names", () => {
  for (const local of ["same", "changed"] as const) {
    assert.notEqual(decideSync(local, "absent", true), "deleteLocal", "what nobody deleted stays");
  }
  assert.equal(decideSync("gone", "gone", true), "forget");
  assert.equal(conflictPath("a.b/c", "H 1", 1), "a.b/c (conflict H 1)");
  assert.equal(conflictPath(".rc", "H", 2), ".rc (conflict H 2)");
  assert.equal(Buffer.byteLength(conflictPath(`${"ü".repeat(120)}.txt`, "host", 1)) <= 255, true);
});

const names = ["x", "y.txt", "d/x", "d/z", "e"];

type Step =
  | { readonly do: "write"; readonly machine: number; readonly name: number; readonly large: boolean }
  | { readonly do: "delete" | "swap"; readonly machine: number; readonly name: number }
  | { readonly do: "sync"; readonly machine: number; readonly crashAfter: number; readonly editAfter: number };

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("write" as const),
        machine: fc.nat(1),
        name: fc.nat(names.length - 1),
        large: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom("delete" as const, "swap" as const),
        machine: fc.nat(1),
        name: fc.nat(names.length - 1),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("sync" as const),
        machine: fc.nat(1),
        crashAfter: fc.integer({ min: 1, max: 120 }),
        editAfter: fc.integer({ min: 1, max: 120 }),
      }),
    },
  ),
  { minLength: 3, maxLength: 25 },
);

/** Two machines whose users write and delete at will, each text only once. */
class World {
  readonly machines = pair();
  readonly propagate: boolean;
  #textCount = 0;
  /** Every path that ever was in the bucket. */
  readonly #paths = new Set<string>();

  constructor(propagate: boolean) {
    this.propagate = propagate;
  }

  machine(index: number): Machine {
    return this.machines[index as 0 | 1];
  }

  async begin(): Promise<void> {
    for (const { disk } of this.machines) for (const path of ["/t", "/t/d"]) await disk.makeFolder(path, 0o755);
  }

  async write(machine: Machine, name: string, large = false): Promise<void> {
    const text = `text ${++this.#textCount} of ${machine.label}`;
    if (name.startsWith("d/") && (await machine.disk.stat("/t/d"))?.type !== "folder") return;
    await write(machine.disk, `/t/${name}`, large ? text.padEnd(1_100, ".") : text).catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) throw error;
    });
  }

  async texts(machine: Machine): Promise<Set<string>> {
    const texts = new Set<string>();
    const visit = async (folder: string) => {
      for (const { name, stat } of await machine.disk.list(folder)) {
        const path = `${folder}/${name}`;
        if (stat.type === "folder") await visit(path);
        else if (stat.type === "file") texts.add((await read(machine.disk, path)).replaceAll(".", ""));
      }
    };
    await visit("/t");
    return new Set([...texts].filter((text) => text.startsWith("text ")));
  }

  /** In the bucket, old versions included. */
  async kept(): Promise<Set<string>> {
    const { files } = this.machine(0);
    for await (const { path } of files.list()) this.#paths.add(path);
    const texts = new Set<string>();
    for (const path of this.#paths) {
      for (const version of await files.versions(path)) {
        if (version.type === "file") texts.add((await (await files.open(version)).text()).replaceAll(".", ""));
      }
    }
    return texts;
  }

  async sync(machine: Machine, crashAfter: number, editAfter: number): Promise<void> {
    const { disk } = machine;
    const mine = await this.texts(machine);
    const kept = await this.kept();
    let count = 0;
    disk.before = async (action) => {
      count++;
      // Right before these a check was made; the window behind it is that of the system.
      const isReplacing = ["rename", "place", "remove", "removeFolder", "setAttributes"].includes(action);
      if (count >= editAfter && !isReplacing) {
        editAfter = Infinity;
        const hook = disk.before;
        disk.before = undefined;
        const before = await this.texts(machine);
        await this.write(machine, names[count % names.length] ?? "x");
        // What its own user has replaced is nobody's concern, if it was not stored.
        const now = await this.texts(machine);
        for (const text of before) if (!now.has(text)) mine.delete(text);
        for (const text of now) mine.add(text);
        disk.before = hook;
      }
      if (count >= crashAfter) throw new HoldfastError("exhausted", "crash");
    };
    try {
      await machine.sync({ delete: this.propagate });
    } catch (error) {
      assert.match(String(error), /crash/);
    } finally {
      disk.before = undefined;
    }
    const after = new Set([...(await this.texts(machine)), ...(await this.kept())]);
    for (const text of [...mine, ...kept]) assert.ok(after.has(text), `"${text}" is lost`);
  }

  async do(step: Step): Promise<void> {
    const machine = this.machine(step.machine);
    if (step.do === "sync") return this.sync(machine, step.crashAfter, step.editAfter);
    const name = names[step.name] ?? "x";
    if (step.do === "write") return this.write(machine, name, step.large);
    const stat = await machine.disk.stat(`/t/${name}`);
    if (stat?.type === "file") await machine.disk.remove(`/t/${name}`);
    if (step.do === "swap" && stat?.type === "file" && name === "e") await machine.disk.makeFolder("/t/e", 0o755);
  }
}

test("whatever users do, and wherever runs are cut off, nothing is lost and all becomes alike", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.boolean(), async (list, propagate) => {
      const world = new World(propagate);
      await world.begin();
      for (const step of list) await world.do(step);
      for (let round = 0; round < 3; round++) {
        for (const machine of world.machines) await world.sync(machine, Infinity, Infinity);
      }
      const [a, b] = world.machines;
      assert.deepEqual(await a.picture(), await b.picture());
      assert.deepEqual([await a.sync({ delete: propagate }), await b.sync({ delete: propagate })], [[], []]);
      const stored = (await a.stored()).map((path) => path.slice(1));
      assert.deepEqual(
        stored.toSorted(),
        (await a.picture()).map((line) => line.replace(/\/? \d+ 0:0.*/, "")).toSorted(),
      );
    }),
    { numRuns: 30 * scale },
  );
});
