/** Tests of `holdfast file` as a person types it: on a running member and on a directory. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { linkSync } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, readFile, readlink, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { failWith, jsonLines, launch, outcomeOf, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

let directory: string;
let member: Member;
const here = () => ({ endpoint: member.endpoint, directory });
const program = new Program();
const file = (...args: string[]) => program.succeed(["file", ...args], here());
const fileFails = (status: number, ...args: string[]) => program.failWith(status, ["file", ...args], here());
const lastJson = (text: string) => jsonLines(text).at(-1) as Record<string, unknown>;

/** Bytes that do not compress and are the same in every run. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

before(async () => {
  directory = await temporaryDirectory();
  member = await startMember(join(directory, "data"));
  const source = join(directory, "source");
  await mkdir(join(source, "sub", "empty"), { recursive: true });
  await writeFile(join(source, "a.txt"), "hello\n");
  await chmod(join(source, "a.txt"), 0o640);
  await writeFile(join(source, "sub", "large"), noise(300_000, 1));
  await writeFile(Buffer.concat([Buffer.from(`${source}/caf`), Buffer.of(0xe9)]), "latin");
  await writeFile(join(source, "two\nlines"), "odd");
  await symlink("a.txt", join(source, "link"));
  linkSync(join(source, "a.txt"), join(source, "sub", "hard"));
});

test("a folder goes in, is known again, and comes back as it was", async () => {
  // As a process of its own, once for each exit status.
  const first = lastJson(await succeed(["file", "put", "source", "tree:here", "--json"], here()));
  assert.match(await failWith(1, ["file", "cat", "tree:nothing"], here()), /^error: tree:nothing does not exist/);
  assert.match(await failWith(2, ["file", "put", "source"], here()), /^error: name what to store and where/);
  assert.deepEqual([first["files"], first["bytes"], first["unchanged"]], [5, 300_020, 0]);
  assert.ok((first["newBytes"] as number) >= 300_000);
  const again = lastJson(await file("put", "source", "tree:here", "--json"));
  assert.deepEqual(again, { files: 5, bytes: 300_020, newBytes: 0, unchanged: 5 });

  assert.deepEqual(lastJson(await file("get", "tree:here", "back", "--json")), {
    files: 5,
    bytes: 300_020,
    unchanged: 0,
  });
  const [source, back] = [join(directory, "source"), join(directory, "back")];
  assert.deepEqual(await readdir(back), await readdir(source));
  assert.deepEqual(await readFile(join(back, "sub", "large")), await readFile(join(source, "sub", "large")));
  assert.equal(await readlink(join(back, "link")), "a.txt");
  const [wanted, found] = await Promise.all([source, back].map((one) => stat(join(one, "a.txt"), { bigint: true })));
  assert.deepEqual([found?.mode, found?.mtimeNs], [wanted?.mode, wanted?.mtimeNs]);
  assert.equal((await stat(join(back, "a.txt"))).ino, (await stat(join(back, "sub", "hard"))).ino);
  assert.match(
    await file("get", "tree:here", "back"),
    /^got 5 files, 300 kB \(0 B written\), to back, in .*; 5 unchanged\n$/,
  );
});

test("ls, stat, cat and versions say what there is", async () => {
  await file("put", "source", "show:");
  assert.equal(await file("ls", "show"), "a.txt\ncaf\\xe9\nlink\nsub/\ntwo\\nlines\n");
  assert.equal(await file("ls", "-R", "show:sub"), "empty/\nhard\nlarge\n");
  assert.match(
    await file("ls", "-l", "show:"),
    /^-rw-r----- {7}6 B {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}a\.txt\n(.*\n)*lrwxrwxrwx .* link -> a\.txt\ndrwx.* sub\/\n/,
  );
  assert.match(await file("ls"), /^show$/m);
  assert.deepEqual(
    jsonLines(await file("ls", "show", "--json")).map((one) => (one as { path64?: string }).path64),
    [undefined, Buffer.from([0x63, 0x61, 0x66, 0xe9]).toString("base64"), undefined, undefined, undefined],
  );
  const record = lastJson(await file("stat", "show:a.txt", "--json"));
  assert.deepEqual([record["path"], record["type"], record["size"], record["mode"]], ["a.txt", "file", 6, "0640"]);
  assert.match(await file("stat", "show:link"), /^path .*\ntype +link\ntarget +a\.txt\n/);
  assert.equal(await file("cat", "show:a.txt", "show:sub/hard"), "hello\nhello\n");
  assert.equal(await file("cat", "show:a.txt", "--start", "1", "--end", "4"), "ell");

  await program.succeed(["file", "put", "-", "show:a.txt"], { ...here(), input: "changed" });
  const [old, now] = jsonLines(await file("versions", "show:a.txt", "--json")) as Record<string, number>[];
  assert.equal(old?.["supersededRevision"], now?.["revision"]);
  assert.equal(await file("cat", "show:a.txt", "--revision", String(old?.["revision"])), "hello\n");
  assert.equal(await file("cat", "show:a.txt", "--at", String((now?.["revision"] ?? 0) - 1)), "hello\n");
  await file("cp", "show:a.txt", "show:a.txt", "--revision", String(old?.["revision"]));
  assert.equal(await file("cat", "show:a.txt"), "hello\n");
});

test("single files: names, standard input and output, what only they have", async () => {
  await file("put", "source/a.txt", "source/link", "one:both/");
  assert.equal(await file("ls", "-R", "one"), "both/a.txt\nboth/link\n");
  assert.equal(await file("cat", "one:both/link"), "hello\n", "a link that is named is followed");
  await file("put", "source/a.txt", "one:");
  assert.equal(await file("get", "one:a.txt", "-"), "hello\n");
  await mkdir(join(directory, "into"));
  assert.match(await file("get", "one:a.txt", "into"), /^got 1 file, 6 B/);
  assert.equal(await readFile(join(directory, "into", "a.txt"), "utf8"), "hello\n");
  const bytes = noise(70_000, 2);
  const put = await program.run(
    ["file", "put", "-", "one:raw", "--content-type", "a/b", "--meta", "by=ada", "--json"],
    {
      ...here(),
      input: bytes,
    },
  );
  const record = lastJson(put.stdout);
  assert.deepEqual([record["size"], record["contentType"], record["metadata"]], [70_000, "a/b", { by: "ada" }]);
  const child = launch(["file", "cat", "one:raw"], here());
  child.stdout.setEncoding("latin1");
  assert.equal((await outcomeOf(child)).stdout, bytes.toString("latin1"));
  assert.match(await fileFails(1, "put", "source/a.txt", "one:raw", "--if-absent"), /raw/);
});

test("rm, mv and cp", async () => {
  await file("put", "source", "names:s");
  assert.match(await file("mv", "names:s", "names:old/"), /^moved 9; revision \d+\n$/);
  assert.match(await file("cp", "names:old/s/sub", "other:copy"), /^copied 4; /);
  assert.equal(await file("ls", "-R", "other"), "copy/\ncopy/empty/\ncopy/hard\ncopy/large\n");
  assert.match(await fileFails(1, "rm", "names:old/s"), /is a folder with something in it; -r deletes/);
  assert.equal(await file("rm", "names:old/s/a.txt"), "deleted 1\n");
  assert.match(
    await file("rm", "-r", "names:old", "--dry-run"),
    /^deleted {2}old\/s\ndeleted {2}old\/s\/caf\\xe9\n(.*\n)*would delete 8\n$/,
  );
  assert.deepEqual(lastJson(await file("rm", "-r", "names:", "--json")), { deleted: 8 });
  assert.match(await fileFails(1, "rm", "names:old/s/a.txt"), /names:old\/s\/a\.txt does not exist/);
  assert.match(await fileFails(1, "rm", "-r", "names:old"), /there is nothing at names:old/);
  assert.match(await fileFails(1, "mv", "names:nothing", "names:x"), /nothing/);
});

test("buckets: settings, an encrypted one, what opens it", async () => {
  await writeFile(join(directory, "right"), "open sesame\nmore\n");
  await writeFile(join(directory, "wrong"), "open barley\n");
  await writeFile(join(directory, "key"), noise(32, 3));
  await file("bucket", "create", "diary", "--passphrase-file", "right", "--keep", "30d", "--chunk-max", "1M");
  assert.match(
    await file("bucket", "list", "diary"),
    /kept 30 days.*\n(.*\n)*chunks +128k to 1M, about 512k\nencryption +with a passphrase\n/,
  );
  await file("bucket", "set", "diary", "--keep", "forever");
  const settings = lastJson(await file("bucket", "list", "diary", "--json"));
  assert.deepEqual([settings["keepMs"], settings["chunkSizeMax"]], [null, 1_048_576]);

  assert.match(await fileFails(1, "put", "source", "diary:"), /diary is encrypted: give its passphrase/);
  assert.match(
    await fileFails(1, "put", "source", "diary:", "--passphrase-file", "wrong"),
    /not the passphrase of bucket diary/,
  );
  await file("put", "source", "diary:", "--passphrase-file", "right");
  await file("bucket", "passphrase", "diary", "--passphrase-file", "right", "--new-key-file", "key");
  assert.match(await fileFails(1, "get", "diary:sub/large", "x", "--passphrase-file", "right"), /give its key/);
  await assert.rejects(lstat(join(directory, "x")));
  assert.equal(await file("cat", "diary:a.txt", "--key-file", "key"), "hello\n");
  assert.match(await file("verify", "diary", "--key-file", "key"), /^verified 5 files, 300 kB: all sound, /);
  assert.match(await fileFails(1, "bucket", "delete", "diary"), /not empty: it has 8 entries; .*rm -r diary:/);
  await file("rm", "-r", "diary:");
  assert.match(await file("bucket", "delete", "diary"), /^deleted diary; /);
});

test("failures say what happened to which place; wrong usage has exit status 2", async () => {
  await Promise.all([
    fileFails(1, "ls", "nowhere").then((said) => assert.match(said, /^error: bucket nowhere does not exist/)),
    fileFails(1, "get", "nowhere:x", "y").then((said) =>
      assert.match(said, /^error: bucket nowhere does not exist; there are .*tree\n$/),
    ),
    program
      .failWith(1, ["file", "ls", "--data", "no store"], { directory })
      .then((said) => assert.match(said, /there is no store in .*no store/)),
    fileFails(1, "cat", "tree:x").then((said) => assert.match(said, /^error: tree:x does not exist\n$/)),
    fileFails(1, "put", "missing", "tree:x").then((said) =>
      assert.match(said, /^error: cannot store missing: there is no/),
    ),
    fileFails(1, "ls", "tree:x", "--at", "noon").then((said) =>
      assert.match(said, /^error: snapshot "noon" does not exist/),
    ),
    fileFails(2, "put", "source", "tree").then((said) => assert.match(said, /^error: "tree" is no place.*BUCKET:PATH/)),
    fileFails(2, "put", "source").then((said) => assert.match(said, /^error: name what to store and where/)),
    fileFails(2, "put", "-", "tree:").then((said) => assert.match(said, /^error: standard input has no name/)),
    fileFails(2, "put", "source/a.txt", "back/a.txt", "tree:").then((said) =>
      assert.match(said, /the same name, tree:a\.txt/),
    ),
    fileFails(2, "put", "source", "tree:x", "--exclude", "[").then((said) => assert.match(said, /"\["/)),
    fileFails(2, "bucket", "set", "tree").then((said) => assert.match(said, /^error: say what to change/)),
    fileFails(2, "bucket", "set", "tree", "--keep", "soon").then((said) => assert.match(said, /duration/)),
  ]);
});

test("what fails by itself is named, the rest goes on, and the exit status is 1", async () => {
  await program.succeed(["file", "put", "-", "bad:../outside"], { ...here(), input: "x" });
  await program.succeed(["file", "put", "-", "bad:inside"], { ...here(), input: "y" });
  const outcome = await program.run(["file", "get", "bad:", "bad"], here());
  assert.equal(outcome.status, 1);
  assert.match(outcome.stdout, /^got 1 file, .*1 failed\n$/);
  assert.match(
    outcome.stderr,
    /^warning: .*\.\.\/outside has no place on the disk.*\nerror: 1 failed and named above/s,
  );
  assert.deepEqual(await readdir(join(directory, "bad")), ["inside"]);
});

test("a dry run says what would be done and does nothing", async () => {
  await file("put", "source", "dry:", "--exclude", "sub/");
  const said = await file("put", "source", "dry:", "--include", "sub/", "--exclude", "large", "--dry-run");
  assert.match(
    said,
    /^new +source\/sub\nnew +source\/sub\/empty\nnew +source\/sub\/hard\nwould store 1 file, 6 B, at dry:/,
  );
  assert.equal(await file("ls", "dry"), "a.txt\ncaf\\xe9\nlink\ntwo\\nlines\n");
  const events = jsonLines(await file("get", "dry:", "dry", "--dry-run", "--json"));
  assert.equal(events.length, 5);
  assert.deepEqual(events[0], { event: "new", path: "dry/a.txt" });
  await assert.rejects(lstat(join(directory, "dry")));
});

test("sync brings two folders together and keeps both sides of a conflict", async () => {
  const put = (path: string, text: string) => writeFile(join(directory, path), text);
  const names = async (folder: string) =>
    (await readdir(join(directory, folder))).filter((name) => !name.startsWith(".holdfast-sync"));
  await mkdir(join(directory, "s1"));
  await put("s1/a", "1");
  await file("sync", "s1", "notes:");
  await file("sync", "s2", "notes:");
  assert.equal(await readFile(join(directory, "s2", "a"), "utf8"), "1");
  assert.match(await file("sync", "s2", "notes:"), /^s2 and notes: are alike \(\d unchanged\), in /);
  await put("s1/a", "from one");
  await put("s2/a", "from two");
  await file("sync", "s1", "notes:");
  assert.equal(lastJson(await file("sync", "s2", "notes:", "--json"))["conflicts"], 1);
  await file("sync", "s1", "notes:");
  const both = await names("s1");
  assert.deepEqual(both, await names("s2"));
  assert.equal(both.length, 2);
  const texts = await Promise.all(both.map((name) => readFile(join(directory, "s1", name), "utf8")));
  assert.deepEqual(texts.toSorted(), ["from one", "from two"]);
});

test("sync: a second run in the folder, another store, an emptied side", async () => {
  const folder = join(directory, "s3");
  await mkdir(folder);
  for (const name of ["a", "b"]) await writeFile(join(folder, name), name);
  await file("sync", folder, "held:");
  // A process that holds the lock, as a sync does, and dies without a word.
  const place = join(folder, ".holdfast-sync-lock");
  const script = `import { NodeDisk } from ${JSON.stringify(join(import.meta.dirname, "../host/index.ts"))};
    await new NodeDisk(${JSON.stringify(place)}).lock(); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const said = await fileFails(1, "sync", folder, "held:");
  assert.match(
    said,
    new RegExp(`^error: .*s3 is being synchronised by process ${holder.pid} .*; wait for it, or stop it\\n$`),
  );
  holder.kill("SIGKILL");
  await once(holder, "exit");
  assert.match(await file("sync", folder, "held:"), /are alike \(2 unchanged\)/);

  await file("rm", "-r", "held:");
  assert.match(
    await fileFails(1, "sync", folder, "held:", "--delete"),
    /held: is empty, .* nothing was deleted.*--force/,
  );
  assert.deepEqual((await readdir(folder)).slice(-2), ["a", "b"]);
  const data = join(directory, "elsewhere");
  await startMember(data).then((other) => other.stop());
  const other = await program.run(["file", "sync", folder, "held:", "--delete", "--data", data], { directory });
  assert.deepEqual([other.status, /2 up/.test(other.stdout)], [0, true], other.stderr);
  assert.match(other.stderr, /^warning: the folder was last synchronised with another store; /);
  assert.deepEqual((await readdir(folder)).slice(-2), ["a", "b"]);
});

test("on a directory: damage is named, and other files are served", async () => {
  const data = join(directory, "alone");
  const member = await startMember(data);
  assert.equal((await member.stop()).status, 0);
  const alone = (...args: string[]) => program.run(["file", ...args, "--data", data], { directory });
  assert.equal((await alone("put", "source", "tree:")).status, 0);
  const packs = await readdir(join(data, "chunks"));
  const sizes = await Promise.all(packs.map(async (name) => (await stat(join(data, "chunks", name))).size));
  const largest = join(data, "chunks", packs[sizes.indexOf(Math.max(...sizes))] ?? "");
  const handle = await open(largest, "r+");
  const at = (await handle.readFile()).indexOf(noise(300_000, 1).subarray(1_000, 1_016));
  assert.ok(at > 0, "what does not compress is kept as it is");
  await handle.write(Buffer.of(1, 2, 3, 4), 0, 4, at);
  await handle.close();
  const verified = await alone("verify");
  assert.equal(verified.status, 1);
  assert.match(verified.stdout, /^verified 5 files, 300 kB: 1 file damaged, /);
  assert.match(verified.stderr, /^warning: tree:sub\/large: /);
  assert.equal((await alone("cat", "tree:a.txt")).stdout, "hello\n");
  assert.match((await alone("cat", "tree:sub/large")).stderr, /^error: tree:sub\/large: /);
});

test("Ctrl-C stops a put, which says what has become of it", async () => {
  const child = launch(["file", "put", "-", "slow:x"], here());
  const outcome = outcomeOf(child);
  // More than a pipe holds: when it is written, the command reads.
  await new Promise((resolve) => child.stdin.write(noise(1_000_000, 4), resolve));
  child.kill("SIGINT");
  assert.deepEqual(await outcome, { status: 1, stdout: "", stderr: "error: stopped: nothing was stored\n" });
  assert.match(await fileFails(1, "stat", "slow:x"), /does not exist/);
});
