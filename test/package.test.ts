/**
 * The published package, as a stranger meets it: packed, installed into an empty project, type-checked against its
 * declarations, and run there on this Node.js and on the oldest one that is promised.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The oldest Node.js that `engines` promises; it is installed beside the consumer project. */
const oldestNode = "22.15.0";
const program = `
import { connect, HoldfastError, open } from "holdfast";
import type { Bucket, FileInput, FileReading, FileRecord, Files, Snapshot, SnapshotDifference, Store } from "holdfast";
import { contract, unary } from "holdfast/rpc";

const store = await open("./data");
const revision: number = await store.keys.put("user/1", { name: "Ada" });
const record = await store.keys.get("user/1");
const user = record?.json<{ name: string }>();
if (user?.name !== "Ada" || revision < 1) throw new Error("wrong answer");
await store.transaction(async (tx) => {
  const before = await tx.keys.get("user/1");
  tx.keys.put("user/2", before?.text() ?? "");
});
const names: string[] = [];
for await (const each of store.keys.list({ prefix: "user/" })) names.push(each.key);

const photos: Files = store.files("photos");
const put = (path: string, input: FileInput): Promise<FileRecord> => photos.put(path, input, { mode: 0o644 });
const before: FileRecord = await put("a.txt", "first");
const snapshot: Snapshot = await store.snapshot("before");
await photos.putMany([{ path: "a.txt", content: undefined, ifRevision: before.revision }]);
await store.buckets.set("photos", { keepMs: Infinity });
const bucket: Bucket | undefined = await store.buckets.get("photos");
if (bucket?.keepMs !== Infinity) throw new Error("wrong bucket");
const past: FileReading | undefined = await store.at(snapshot.revision).files("photos").get("a.txt");
if ((await past?.text()) !== "first") throw new Error("wrong past");
const differences: SnapshotDifference[] = [];
for await (const one of store.snapshots.diff("before")) differences.push(one);
for await (const step of store.snapshots.restore({ snapshot: "before" })) {
  if (step.done && (step.count !== 1 || !step.atomic)) throw new Error("wrong restore");
}
const uploaded = await photos.upload(new Uint8Array(10_000));
await store.transaction((tx) => tx.files("photos").put("b", uploaded));
const size = async (of: Store): Promise<number> => (await of.files("photos").stat("b"))?.size ?? 0;
if ((await size(store)) !== 10_000 || differences.length === 0) throw new Error("wrong answer");
await store.snapshots.retain({ last: 1 });
for await (const step of store.collect()) if (step.done && step.missingCount > 0) throw new Error("chunks are missing");
await store.close();
try {
  await open("./no/\\0such");
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
}
console.log(names.join(" "), typeof connect, typeof contract, typeof unary, process.version.split(".")[0]);
`;

let project: string;

before(async () => {
  project = await mkdtemp(join(tmpdir(), "holdfast-package-"));
  const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", project], { cwd: root });
  const archive = stdout.trim().split("\n").at(-1) ?? "";
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "consumer", type: "module", private: true }));
  await run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", join(project, archive)], {
    cwd: project,
  });
  await writeFile(join(project, "main.ts"), program);
  const platform = `node-${process.platform}-${process.arch}@${oldestNode}`;
  await mkdir(join(project, "oldest"));
  await run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", "oldest", platform], {
    cwd: project,
  });
});

after(() => rm(project, { recursive: true, force: true }));

test("holds what it should and nothing else", async () => {
  const directory = join(project, "node_modules", "holdfast");
  assert.deepEqual((await readdir(directory)).toSorted(), [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "dist",
    "package.json",
  ]);
  const files = await readdir(join(directory, "dist"), { recursive: true });
  assert.ok(files.includes("index.js") && files.includes("index.d.ts") && files.includes(join("cli", "main.js")));
  assert.deepEqual(
    files.filter((file) => /\.(test|bench)\./.test(file)),
    [],
  );
  const { exports } = JSON.parse(await readFile(join(directory, "package.json"), "utf8")) as {
    exports: Record<string, Record<string, string>>;
  };
  for (const targets of Object.values(exports)) {
    for (const target of Object.values(targets)) assert.ok(files.includes(target.replace("./dist/", "")), target);
  }
});

test("its declarations satisfy a strict consumer", async () => {
  await writeFile(
    join(project, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        module: "nodenext",
        target: "es2024",
        lib: ["es2024", "esnext.disposable"],
        strict: true,
        exactOptionalPropertyTypes: true,
        outDir: "out",
        types: ["node"],
        typeRoots: [join(root, "node_modules", "@types")],
      },
      files: ["main.ts"],
    }),
  );
  await run(join(root, "node_modules", ".bin", "tsc"), ["-p", project]);
});

for (const version of [process.versions.node, oldestNode]) {
  test(`runs on Node.js ${version}: library and command`, async () => {
    const bundled = join(project, "oldest", "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
    const node = version === oldestNode ? bundled : process.execPath;
    await rm(join(project, "data"), { recursive: true, force: true });
    const { stdout } = await run(node, [join(project, "out", "main.js")], { cwd: project });
    assert.match(stdout, /^user\/1 user\/2 function function function v\d+\n$/);
    const command = join(project, "node_modules", "holdfast", "dist", "cli", "main.js");
    await run(node, [command, "key", "put", "greeting", "hello", "--data", "data"], { cwd: project });
    const got = await run(node, [command, "key", "get", "greeting", "--data", "data"], { cwd: project });
    assert.equal(got.stdout, "hello\n");
  });
}
