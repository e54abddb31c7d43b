/** Tests of synchronising folders with a bucket, on file systems in memory. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { HoldfastError } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { scale } from "../view/fixture.suite.ts";
import { conflictPath, decideSync } from "./sync-decision.ts";
import { signatureOf } from "./sync-state.ts";
import { syncTree } from "./sync.ts";
import type { SyncEvent, SyncOptions, SyncOutcome } from "./sync-options.ts";
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
  readonly warnings: string[] = [];
  readonly label: string;
  readonly files;
  readonly #parts;

  constructor(label: string, bucket: string) {
    this.label = label;
    this.#parts = store.machine(this.disk);
    this.files = store.accessOf(this.#parts).files(bucket);
  }

  async sync(options: Partial<SyncOptions> = {}): Promise<string[]> {
    return (await this.told(options)).events;
  }

  async told(options: Partial<SyncOptions>): Promise<{ readonly events: string[]; readonly outcome: SyncOutcome }> {
    const events: string[] = [];
    const report = ({ type, path, other }: SyncEvent) => {
      events.push(`${type} ${path}${other === undefined ? "" : ` as ${other}`}`);
    };
    const how = { label: this.label, store: "s", report, warn: (text: string) => this.warnings.push(text), ...options };
    const outcome = await syncTree(this.#parts, this.files, "/t", "p", how);
    return { events: events.toSorted(), outcome };
  }

  async picture(): Promise<string[]> {
    const lines = await picture(this.disk, "/t", { times: false });
    // A run that was cut off in a conflict leaves two names of one file: that they are one is not synchronised.
    const apart = lines.map((line) => line.replace(/= .* (?=[^ ]*$)/, ""));
    return apart.filter((line) => !line.includes("/.holdfast-sync"));
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
  for (const name of ["d/x", "stays", "y"]) await write(a.disk, `/t/${name}`, name);
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
  await assert.rejects(
    syncTree(other, files, "/t", "p", { label: "A", store: "s" }),
    /last synchronised with sync-\d+:p/,
  );
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
});

/** A machine whose folder has `x` and `y`, as the bucket has. */
async function settled(): Promise<Machine> {
  const [a] = pair();
  await a.disk.makeFolder("/t", 0o755);
  for (const name of ["x", "y"]) await write(a.disk, `/t/${name}`, `old ${name}`);
  await a.sync({ delete: true });
  return a;
}

/** What the folder has, and what the bucket has, with their bytes. */
async function contents(machine: Machine): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, stat } of await machine.disk.list("/t")) {
    if (stat.type === "file" && !name.startsWith(".holdfast")) found[name] = await read(machine.disk, `/t/${name}`);
  }
  for await (const record of machine.files.list()) {
    found[`${machine.files.bucket}:${record.path}`.replace(/^.*:p/, "p")] = await (
      await machine.files.open(record)
    ).text();
  }
  return found;
}

const untouched = { x: "old x", y: "old y", "p/x": "old x", "p/y": "old y" };

async function deleteBucket({ files }: Machine): Promise<void> {
  await files.delete({ prefix: "" });
  await store.accessOf(store.machine(new MemoryFileSystem())).buckets.delete(files.bucket);
}

test("a bucket that was lost, or made again, deletes nothing", async () => {
  const a = await settled();
  await deleteBucket(a);
  assert.deepEqual(await a.sync({ delete: true }), ["upload x", "upload y"]);
  assert.match(a.warnings.join(), /^bucket sync-\d+ is not there any more; .* nothing is deleted this time$/);
  assert.deepEqual(await contents(a), untouched);
  assert.deepEqual(await a.sync({ delete: true }), [], "and is trusted from then on");
  await deleteBucket(a);
  await a.files.put("p/z", "z");
  assert.deepEqual(await a.sync({ delete: true }), ["download z", "upload x", "upload y"]);
  assert.match(a.warnings.at(-1) ?? "", /is not the one that the folder was synchronised with/);
  assert.deepEqual(await contents(a), { ...untouched, z: "z", "p/z": "z" });
  assert.equal(a.warnings.length, 2);
});

test("a state that does not know its bucket, as a run in a new one begins it, is not believed", async () => {
  const a = await settled();
  const text = await read(a.disk, "/t/.holdfast-sync");
  assert.match(
    text,
    /^\{"holdfastSync":1,"store":"s","bucket":"sync-\d+","prefix":"p","createRevision":[1-9]\d*\} *\n\[/,
  );
  await a.files.delete("p/x");
  for (const name of [".holdfast-sync", ".holdfast-sync-next"]) {
    await write(a.disk, `/t/${name}`, text.replace(/"createRevision":\d+/, '"createRevision":0'));
  }
  assert.deepEqual(await a.sync({ delete: true }), ["upload x"]);
  assert.deepEqual(await contents(a), untouched);
});

test("a first run that was cut off knows its bucket, and the next one goes on from there", async () => {
  const [a] = pair();
  await a.disk.makeFolder("/t", 0o755);
  for (const name of ["x", "y"]) await write(a.disk, `/t/${name}`, `old ${name}`);
  a.disk.before = (action) => {
    if (action === "rename") throw new HoldfastError("exhausted", "crash");
  };
  await assert.rejects(a.sync({ delete: true }), /crash/);
  a.disk.before = undefined;
  await a.files.delete("p/x");
  assert.deepEqual(await a.sync({ delete: true }), ["deleteLocal x"]);
  assert.deepEqual(a.warnings, []);
});

test("another store with a bucket of this name: both sides are put together", async () => {
  const a = await settled();
  await a.files.delete("p/x");
  await a.files.put("p/y", "from the other store");
  assert.deepEqual(await a.sync({ delete: true, store: "other", dryRun: true }), [
    "conflict y as y (conflict A)",
    "upload x",
  ]);
  assert.deepEqual(await a.sync({ delete: true, store: "other" }), ["conflict y as y (conflict A)", "upload x"]);
  assert.match(a.warnings.at(-1) ?? "", /^the folder was last synchronised with another store; /);
  const [x, y, other] = ["old x", "from the other store", "old y"];
  const expected = { x, y, "y (conflict A)": other, "p/x": x, "p/y": y, "p/y (conflict A)": other };
  assert.deepEqual(await contents(a), expected);
});

test("a bucket that was set back to an earlier state takes nothing along", async () => {
  const a = await settled();
  const text = await read(a.disk, "/t/.holdfast-sync");
  // As after a backup has come back: the last state has what the store has not seen yet.
  await a.files.delete("p/x");
  await write(a.disk, "/t/.holdfast-sync", text.replaceAll(/,\d+\]/g, ",1000000]"));
  assert.deepEqual(await a.sync({ delete: true }), ["upload x"]);
  assert.match(a.warnings.join(), /the store has gone back to an earlier state/);
  // The store has gone on since, so that only single paths tell: `x` and the `z` of here were never there, `y` is older
  // than what was seen.
  await a.files.put("p/y", "older");
  const { revision: older } = (await a.files.stat("p/y")) ?? { revision: 0 };
  const { revision: newer } = await a.files.put("p/later", "later");
  await a.files.delete("p/x");
  const line = async (name: string, at: number) => {
    const stat = await a.disk.stat(`/t/${name}`);
    return `${JSON.stringify([name, signatureOf(stat as FileStat, true), at])}\n`;
  };
  const [header = ""] = (await read(a.disk, "/t/.holdfast-sync")).split("\n");
  await write(a.disk, "/t/z", "here only");
  await a.files.put("p/z", "there");
  const state = `${header}\n${await line("x", older)}${await line("y", newer)}${await line("z", older)}`;
  await write(a.disk, "/t/.holdfast-sync", state);
  assert.deepEqual(await a.sync({ delete: true }), [
    "conflict y as y (conflict A)",
    "conflict z as z (conflict A)",
    "download later",
    "upload x",
  ]);
  assert.equal(await read(a.disk, "/t/z (conflict A)"), "here only");
  assert.deepEqual([await read(a.disk, "/t/x"), await read(a.disk, "/t/y (conflict A)")], ["old x", "old y"]);
});

test("a file that is older in the bucket than it was is a conflict, also where no old versions are kept", async () => {
  const a = await settled();
  await store.accessOf(store.machine(a.disk)).buckets.set(a.files.bucket, { keepMs: 0 });
  const { revision: newer } = await a.files.put("p/x", "new x");
  await a.files.delete("p/x");
  await a.files.put("p/z", "z");
  const state = (await read(a.disk, "/t/.holdfast-sync")).replace(/(\["y",.*,)\d+\]/, `$1${newer}]`);
  await write(a.disk, "/t/.holdfast-sync", state);
  const stored = await a.files.stat("p/y");
  assert.ok((stored?.revision ?? 0) < newer);
  assert.deepEqual(await a.sync({ delete: true }), ["deleteLocal x", "download z"], "alike is no conflict");
  await write(a.disk, "/t/y", "later y");
  const line = `${JSON.stringify(["y", signatureOf((await a.disk.stat("/t/y")) as FileStat, true), newer])}\n`;
  const [header = ""] = (await read(a.disk, "/t/.holdfast-sync")).split("\n");
  await write(a.disk, "/t/.holdfast-sync", `${header}\n${line}`);
  assert.deepEqual(await a.sync({ delete: true }), ["conflict y as y (conflict A)"]);
});

test("what a run with another store has left is not mixed with the state of this one", async () => {
  const a = await settled();
  a.disk.before = (action, path) => {
    if (action !== "open" || path !== "/t/x") return;
    a.disk.before = () => {
      throw new HoldfastError("exhausted", "crash");
    };
  };
  await assert.rejects(a.sync({ delete: true, store: "other" }), /crash/);
  a.disk.before = undefined;
  assert.ok((await a.disk.stat("/t/.holdfast-sync-next")) !== undefined);
  await a.files.delete("p/x");
  assert.deepEqual(await a.sync({ delete: true, store: "other" }), ["upload x"]);
});

test("an empty side does not empty the other one, unless that is forced", async () => {
  for (const dryRun of [true, false]) {
    const a = await settled();
    await a.files.delete({ prefix: "" });
    await assert.rejects(a.sync({ delete: true, dryRun }), {
      code: "conflict",
      message:
        /^sync-\d+:p is empty, and had 2 paths in common with \/t the last time; nothing was deleted\. .* use force \(/,
    });
    assert.equal(await read(a.disk, "/t/x"), "old x");
  }
  const a = await settled();
  for (const name of ["x", "y"]) await a.disk.remove(`/t/${name}`);
  await assert.rejects(
    a.sync({ delete: true }),
    /^HoldfastError: \/t is empty, .* If all that is to go from sync-\d+:p, too/,
  );
  assert.deepEqual(await a.sync(), ["download x", "download y"], "without deletions it is no danger");
  for (const name of ["x", "y"]) await a.disk.remove(`/t/${name}`);
  assert.deepEqual(await a.sync({ delete: true, force: true }), ["deleteStored x", "deleteStored y"]);
  assert.deepEqual(await a.sync({ delete: true }), [], "both are empty");
});

test("two runs in one folder: the second one is told, and the state is of one run", async () => {
  const a = await settled();
  let holder: string | undefined;
  const lock = async (place: string) => {
    if (holder !== undefined) throw new HoldfastError("conflict", `${holder} is locked`);
    holder = place;
    return async () => {
      holder = undefined;
    };
  };
  let second = "";
  a.disk.before = async (action) => {
    if (action !== "list") return;
    a.disk.before = undefined;
    second = await a.sync({ lock }).then(String, String);
  };
  assert.deepEqual(await a.sync({ lock }), []);
  assert.equal(second, "HoldfastError: /t/.holdfast-sync-lock is locked");
  a.disk.before = (action) => {
    if (action === "create") throw new HoldfastError("exhausted", "crash");
  };
  await assert.rejects(a.sync({ lock }), /crash/);
  a.disk.before = undefined;
  assert.equal(holder, undefined, "it is released however a run ends");
  assert.deepEqual(await a.sync({ lock }), []);
});

test("what is alike on both sides is counted, however that was found out", async () => {
  const [a, b] = pair();
  for (const { disk } of [a, b]) {
    await disk.makeFolder("/t", 0o755);
    await disk.makeFolder("/t/d", 0o750);
    for (const name of ["d/x", "y"]) {
      await write(disk, `/t/${name}`, "alike");
      await disk.setAttributes(`/t/${name}`, { modifiedNs: 1_700_000_000_000_000_000n });
    }
  }
  await a.sync();
  for (const dryRun of [true, false]) {
    const { events, outcome } = await b.told({ dryRun });
    assert.deepEqual([events, outcome.sameCount], [[], 3]);
  }
  assert.equal((await b.told({})).outcome.sameCount, 3);
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
  /** All files of the bucket are deleted, or it is deleted as a whole. */
  | { readonly do: "clear" | "lose" }
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
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("clear" as const, "lose" as const) }) },
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
      await machine.sync({ delete: this.propagate, force: true });
    } catch (error) {
      assert.match(String(error), /crash/);
    } finally {
      disk.before = undefined;
    }
    const after = new Set([...(await this.texts(machine)), ...(await this.kept())]);
    for (const text of [...mine, ...kept]) assert.ok(after.has(text), `"${text}" is lost`);
  }

  async do(step: Step): Promise<void> {
    if (!("machine" in step)) {
      await this.machine(0).files.delete({ prefix: "" });
      if (step.do === "lose" && (await this.machine(0).files.info()) !== undefined) await deleteBucket(this.machine(0));
      return;
    }
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
