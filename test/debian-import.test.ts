/**
 * Real input, end to end: Debian's package index (some 60,000 records) goes through `holdfast key import` into a member
 * that is killed in the middle, while a watch runs. What was acknowledged is there exactly once, the watch lost and
 * doubled nothing, and what comes out again is what went in.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { failWith, jsonLines, run, startMember, succeed, temporaryDirectory } from "../src/cli/command.suite.ts";
import type { Member } from "../src/cli/command.suite.ts";
import { connect, HoldfastError } from "../src/index.ts";
import type { Store } from "../src/index.ts";

const recordCountMin = 60_000;
/** Records that the command imports before the member is killed; the rest comes after. */
const firstCount = 25_000;
/** Puts of this test's own that are under way when the member is killed. */
const inFlightCount = 256;
/** How many of them, and of the records that a second import brings, are acknowledged before that. */
const killAfterCount = 2_000;
const inFlightPrefix = "in-flight/";
const prefix = "debian/";

const script = fileURLToPath(new URL("../examples/debian-packages.mjs", import.meta.url));
let skip: string | undefined;
let directory: string;
let data: string;
/** Every line of the data set by its package's name. */
const lineOf = new Map<string, string>();
let member: Member;

before(async () => {
  directory = await temporaryDirectory();
  data = join(directory, "data");
  const lines = makeLines();
  if (typeof lines === "string") {
    skip = lines;
    return;
  }
  for (const line of lines) lineOf.set((JSON.parse(line) as { Package: string }).Package, line);
});

/** The data set's lines, after `apt-get update` where that is needed and allowed; else the reason why there are none. */
function makeLines(): string[] | string {
  if (spawnSync("apt-cache", ["--version"]).status !== 0) return "apt-cache is not here: this needs Debian or Ubuntu";
  let lines = packageLines();
  if (lines.length < recordCountMin && process.getuid?.() === 0) {
    spawnSync("apt-get", ["update"], { stdio: "ignore" });
    lines = packageLines();
  }
  if (lines.length >= recordCountMin) return lines;
  return `apt knows ${lines.length} packages; this needs ${recordCountMin}: run \`apt-get update\` as root`;
}

function packageLines(): string[] {
  const { stdout } = spawnSync(process.execPath, [script], { maxBuffer: 1 << 30, encoding: "utf8" });
  return stdout.split("\n").filter((line) => line !== "");
}

function keyOf(name: string): string {
  return prefix + name;
}

/** Collects every event of a watch and checks on the way that each comes once and in order. */
class Observer {
  readonly revisionOf = new Map<string, number>();
  readonly #done: Promise<void>;
  #importedCount = 0;
  #last = 0;

  constructor(store: Store) {
    this.#done = this.#follow(store);
  }

  /** Records of the data set seen so far. */
  get importedCount(): number {
    return this.#importedCount;
  }

  /** Resolves when the event of the key `end` has come. */
  get done(): Promise<void> {
    return this.#done;
  }

  async #follow(store: Store): Promise<void> {
    for await (const event of store.keys.watch({ prefix: "", from: 1 })) {
      assert.equal(event.type, "put");
      assert.ok(event.revision > this.#last, `revision ${event.revision} came after ${this.#last}`);
      this.#last = event.revision;
      assert.ok(!this.revisionOf.has(event.key), `${event.key} came twice`);
      this.revisionOf.set(event.key, event.revision);
      if (event.key.startsWith(prefix)) this.#importedCount++;
      if (event.key === "end") return;
    }
  }
}

/**
 * Puts records until the member is dead, and gives the keys whose put was acknowledged and those whose fate is open: on
 * a busy machine a put may also miss its deadline before.
 */
async function putUntilDead(store: Store, isDead: () => boolean, onPut: (count: number) => void) {
  const acknowledged = new Map<string, number>();
  const open = new Set<string>();
  let next = 0;
  const worker = async () => {
    while (!isDead()) {
      const key = `${inFlightPrefix}${String(next++).padStart(6, "0")}`;
      try {
        acknowledged.set(key, await store.keys.put(key, `value of ${key}`));
        onPut(acknowledged.size);
      } catch (error) {
        assert.ok(error instanceof HoldfastError && ["unavailable", "timeout"].includes(error.code), String(error));
        open.add(key);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlightCount }, worker));
  return { acknowledged, open };
}

test("real records survive a killed member, exactly once", { timeout: 240_000 }, async (t) => {
  if (skip !== undefined) return t.skip(skip);
  const lines = [...lineOf.values()];
  const whole = join(directory, "packages.jsonl");
  const part = join(directory, "part.jsonl");
  await writeFile(whole, `${lines.join("\n")}\n`);
  await writeFile(part, `${lines.slice(0, firstCount).join("\n")}\n`);

  // When it takes too long, what it was at is worth more than that it did.
  let stage = "importing the first part";
  t.signal.addEventListener("abort", () => {
    if (stage !== "") t.diagnostic(`it ended while ${stage}`);
  });

  member = await startMember(data);
  const { endpoint } = member;
  // The watch outlives the member: it goes on by itself when it is back.
  await using watching = await connect(endpoint, { timeoutMs: 60_000 });
  const observer = new Observer(watching);
  const importedMs = await timed(async () => {
    const [outcome] = jsonLines(
      await succeed(["key", "import", part, "--key", "Package", "--prefix", prefix, "--json"], { endpoint }),
    );
    assert.deepEqual(outcome, { imported: firstCount, revision: firstCount, complete: true });
  });

  // The member is killed while many puts are under way, and an import by the command too.
  stage = "putting until the member is killed";
  const putting = await connect(endpoint, { timeoutMs: 3_000 });
  const rest = join(directory, "rest.jsonl");
  await writeFile(rest, `${lines.slice(firstCount).join("\n")}\n`);
  const killed = member.process;
  const importing = run(
    ["key", "import", rest, "--key", "Package", "--prefix", prefix, "--json", "--timeout", "3000"],
    { endpoint },
  );
  // On a machine so busy that the import misses its deadline, the rest of the test is as good.
  void importing.then(() => killed.kill("SIGKILL"));
  const fates = await putUntilDead(
    putting,
    () => killed.killed,
    (count) => {
      const both = Math.min(count, observer.importedCount - firstCount);
      if (both >= killAfterCount) killed.kill("SIGKILL");
    },
  );
  await putting.close();
  await member.outcome;
  stage = "waiting for the interrupted import to end";
  const interrupted = await importing;
  assert.equal(interrupted.status, 1);
  const [partial] = jsonLines(interrupted.stdout) as { imported: number; revision: number; complete: boolean }[];
  assert.equal(partial?.complete, false);
  const [failure] = jsonLines(interrupted.stderr) as { error: { code: string; message: string } }[];
  assert.match(failure?.error.code ?? "", /^(unavailable|timeout)$/);
  assert.ok(fates.acknowledged.size > 0);

  stage = "starting the member again";
  const restartedMs = await timed(async () => {
    member = await startMember(data, ["--listen", endpoint]);
  });
  stage = "checking what is there";
  await using store = await connect(endpoint);
  const found = new Map<string, number>();
  for await (const record of store.keys.list({ prefix: inFlightPrefix })) {
    assert.equal(record.version, 1, `${record.key} was put once`);
    assert.equal(record.text(), `value of ${record.key}`);
    found.set(record.key, record.revision);
  }
  for (const [key, revision] of fates.acknowledged) assert.equal(found.get(key), revision, `${key} was acknowledged`);
  for (const key of found.keys()) assert.ok(fates.acknowledged.has(key) || fates.open.has(key), `${key} was never put`);
  const imported = new Set<string>();
  for await (const record of store.keys.list({ prefix })) {
    assert.equal(record.version, 1, `${record.key} was imported once`);
    assert.equal(record.text(), lineOf.get(record.key.slice(prefix.length)));
    imported.add(record.key.slice(prefix.length));
  }
  const acknowledgedCount = firstCount + (partial?.imported ?? 0);
  assert.ok(imported.size >= acknowledgedCount, `${acknowledgedCount} were acknowledged, ${imported.size} are there`);
  assert.match(await succeed(["log", "verify"], { endpoint }), /^clean: /);

  // What is not there yet is imported; keys that are there stay at version 1, so that the watch sees each once.
  const missing = [...lineOf].filter(([name]) => !imported.has(name)).map(([, line]) => line);
  await writeFile(rest, `${missing.join("\n")}\n`);
  stage = "importing the rest";
  const finishedMs = await timed(async () => {
    const [outcome] = jsonLines(
      await succeed(["key", "import", rest, "--key", "Package", "--prefix", prefix, "--json"], { endpoint }),
    );
    assert.equal((outcome as { imported: number }).imported, missing.length);
  });
  assert.equal(await store.keys.count({ prefix }), lineOf.size);

  const last = await store.keys.put("end", "");
  stage = "waiting for the watch";
  await observer.done;
  assert.equal(observer.revisionOf.get("end"), last);
  assert.equal(observer.revisionOf.size, last, "every revision put one key, and the watch saw each");
  for (const [key, revision] of found) assert.equal(observer.revisionOf.get(key), revision);

  stage = "exporting";
  const exported = join(directory, "exported.jsonl");
  const exportedMs = await timed(() => succeed(["key", "export", prefix, "-o", exported, "--json"], { endpoint }));
  const names = [...lineOf.keys()].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const seen = jsonLines(await readFile(exported, "utf8")) as { key: string; value: unknown }[];
  assert.deepEqual(
    seen.map(({ key }) => key),
    names.map(keyOf),
  );
  for (const { key, value } of seen) assert.equal(JSON.stringify(value), lineOf.get(key.slice(prefix.length)));

  stage = "stopping the member";
  assert.equal((await member.stop()).status, 0);
  assert.match(await succeed(["log", "verify", "--data", data]), /^clean: /);
  await failWith(1, ["key", "get", "end"], { endpoint });
  stage = "";
  t.diagnostic(
    `${lineOf.size} records: the first ${firstCount} imported in ${importedMs} ms; killed with ${fates.acknowledged.size} ` +
      `other puts and ${partial?.imported ?? 0} imported records acknowledged; ready again after ${restartedMs} ms; ` +
      `${missing.length} imported in ${finishedMs} ms; exported in ${exportedMs} ms`,
  );
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return Math.round(performance.now() - startedMs);
}
