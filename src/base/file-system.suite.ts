/**
 * What every `FileSystem` must do, as tests: run by `host/` on a folder of the machine and by `sim/` on the one in memory.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { HoldfastError, pathBytes, pathText, temporaryPrefix, utf8Decode, utf8Encode } from "./index.ts";
import type { ErrorCode, FileSystem } from "./index.ts";

export interface FileSystemHarness {
  readonly fileSystem: FileSystem;
  /** An empty folder. */
  readonly root: string;
  /** Whether this process may give files to others. */
  readonly setsOwner: boolean;
  /** Whether times keep their nanoseconds; else the last three digits may be lost. */
  readonly exactTimes: boolean;
  close(): Promise<void>;
}

/** `make` is called once, before the first test. */
export function fileSystemConformance(name: string, make: () => Promise<FileSystemHarness>): void {
  describe(`file system: ${name}`, () => {
    let harness: FileSystemHarness;
    let count = 0;
    before(async () => {
      harness = await make();
    });
    after(() => harness.close());
    /** A test with a new folder of its own. */
    const check = (title: string, body: (context: Context) => Promise<void>) =>
      test(title, async () => {
        const folder = `${harness.root}/${count++}`;
        await harness.fileSystem.makeFolder(folder, 0o755);
        await body({ ...harness, files: harness.fileSystem, at: (path) => `${folder}/${path}`, folder });
      });
    contentTests(check);
    nameTests(check);
    linkTests(check);
    attributeTests(check);
    changeTests(check);
    failureTests(check);
  });
}

interface Context extends FileSystemHarness {
  readonly files: FileSystem;
  readonly folder: string;
  readonly at: (path: string) => string;
}

type Check = (title: string, body: (context: Context) => Promise<void>) => Promise<void>;

function isError(code: ErrorCode, name?: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, `not a HoldfastError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    if (name !== undefined) assert.ok(error.message.includes(name), `${error.message} does not name ${name}`);
    return true;
  };
}

async function text(files: FileSystem, path: string): Promise<string> {
  const file = await files.open(path);
  const bytes = await file.read(0, 1_000_000);
  await file.close();
  return utf8Decode(bytes);
}

const put = (files: FileSystem, path: string, content = path) => files.place(path, utf8Encode(content), {});

function contentTests(check: Check): void {
  check("a file is created, written, read in parts, cut and extended with a hole", async ({ files, at }) => {
    const file = await files.create(at("file"));
    assert.equal((await file.stat()).mode & 0o077, 0);
    await file.write(utf8Encode("hello world"), 0);
    await file.write(utf8Encode("W"), 6);
    assert.equal(utf8Decode(await file.read(6, 100)), "World");
    assert.equal(utf8Decode(await file.read(0, 5)), "hello");
    assert.equal((await file.read(11, 5)).length, 0);
    assert.equal((await file.read(500, 5)).length, 0);
    await file.truncate(5);
    assert.equal((await file.stat()).size, 5);
    await file.truncate(8);
    assert.deepEqual([...(await file.read(3, 10))], [108, 111, 0, 0, 0]);
    await file.write(utf8Encode("far"), 3_000_000);
    assert.equal((await file.read(8, 5_000_000)).length, 2_999_995);
    await file.sync();
    await file.close();
    // What is there stays when it is opened again.
    const again = await files.create(at("file"));
    assert.equal((await again.stat()).size, 3_000_003);
    await again.close();
  });

  check("a file is placed whole, over another one, and leaves nothing else", async ({ files, at, folder }) => {
    await put(files, at("file"), "before");
    const old = await files.open(at("file"));
    await files.place(at("file"), utf8Encode("after"), { mode: 0o640, modifiedNs: 1_000_000_000n });
    assert.equal(await text(files, at("file")), "after");
    // Who has the old one open reads the old one.
    assert.equal(utf8Decode(await old.read(0, 100)), "before");
    await old.close();
    const stat = await files.stat(at("file"));
    assert.deepEqual([stat?.mode, stat?.modifiedNs, stat?.size], [0o640, 1_000_000_000n, 5]);
    await files.makeLink(at("link"), "file");
    await put(files, at("link"), "in place of a link");
    assert.equal((await files.stat(at("link")))?.type, "file");
    assert.equal(await text(files, at("file")), "after");
    await put(files, at("empty"), "");
    assert.deepEqual(
      (await files.list(folder)).map(({ name, stat }) => [name, stat.size]),
      [
        ["empty", 0],
        ["file", 5],
        ["link", 18],
      ],
    );
  });

  check("placing where a folder is fails and leaves nothing", async ({ files, at, folder }) => {
    await files.makeFolder(at("folder"), 0o755);
    await put(files, at("folder/inside"));
    await assert.rejects(put(files, at("folder")), HoldfastError);
    // What was written under another name goes soon, but not before the call ends.
    for (;;) {
      const names = (await files.list(folder)).map(({ name }) => name);
      if (!names.some((name) => name.startsWith(temporaryPrefix))) break;
    }
    assert.deepEqual(
      (await files.list(folder)).map(({ name }) => name),
      ["folder"],
    );
  });
}

/** Names in the order of their bytes. */
const oddNames = [
  Uint8Array.of(0x01),
  utf8Encode("\n"),
  utf8Encode(" "),
  utf8Encode(" leading and trailing "),
  utf8Encode('"quoted"'),
  utf8Encode("*"),
  utf8Encode("-dash"),
  utf8Encode("...dots"),
  utf8Encode("\\backslash"),
  utf8Encode("a:b"),
  utf8Encode("a\u0301 combining"),
  Uint8Array.of(0x66, 0x80),
  Uint8Array.of(0x66, 0xff, 0xfe, 0x80),
  utf8Encode("n".repeat(255)),
  utf8Encode("é"),
  utf8Encode("日本"),
  utf8Encode("\uff5e"),
  // Behind the one before by its bytes, before it by its UTF-16.
  utf8Encode("\u{1f600}"),
  // A surrogate in UTF-8, which is none.
  Uint8Array.of(0xed, 0xb3, 0xbf).with(0, 0xf5),
  Uint8Array.of(0xff),
].toSorted((a, b) => Buffer.compare(a, b));

function nameTests(check: Check): void {
  check("names may have any bytes, and lists are sorted by them", async ({ files, at, folder }) => {
    const names = oddNames.map((bytes) => pathText(bytes));
    for (const name of names.toReversed()) await put(files, at(name), name === "*" ? "star" : "");
    const listed = await files.list(folder);
    assert.deepEqual(
      listed.map(({ name }) => name),
      names,
    );
    for (const [index, { name, stat }] of listed.entries()) {
      assert.deepEqual(pathBytes(name), Uint8Array.from(oddNames[index] as Uint8Array));
      assert.deepEqual(await files.stat(at(name)), stat);
    }
    for (const name of names) await files.rename(at(name), at(`${name.slice(0, 100)}!`));
    for (const name of names) await files.remove(at(`${name.slice(0, 100)}!`));
    assert.deepEqual(await files.list(folder), []);
  });

  check("folders may have odd names too, and links point anywhere", async ({ files, at }) => {
    const odd = pathText(Uint8Array.of(0x66, 0xff, 0x2f, 0xfe));
    const [outer] = odd.split("/") as [string];
    await files.makeFolder(at(outer), 0o755);
    await put(files, at(odd), "inside");
    await put(files, at(`${outer}/é`));
    assert.deepEqual(
      (await files.list(at(outer))).map(({ name, stat }) => [name, stat.type]),
      [
        ["é", "file"],
        [pathText(Uint8Array.of(0xfe)), "file"],
      ],
    );
    await files.makeLink(at("link"), odd);
    assert.equal(await files.readLink(at("link")), odd);
    await files.makeLink(at("nowhere"), "/does/not/exist\n");
    assert.equal(await files.readLink(at("nowhere")), "/does/not/exist\n");
    assert.equal(await text(files, at(odd)), "inside");
  });

  check("more names than are asked for at once", async ({ files, at, folder }) => {
    const names = Array.from({ length: 700 }, (_, index) => `file-${String(index).padStart(3, "0")}`);
    await Promise.all(names.map((name) => put(files, at(name), "")));
    const listed = await files.list(folder);
    assert.deepEqual(
      listed.map(({ name }) => name),
      names,
    );
    assert.equal(new Set(listed.map(({ stat }) => stat.inode)).size, 700);
  });
}

function linkTests(check: Check): void {
  check("the last name of a path is never followed", async ({ files, at }) => {
    await put(files, at("file"), "content");
    await files.makeFolder(at("folder"), 0o755);
    await files.makeLink(at("link"), "file");
    await files.makeLink(at("to-folder"), "folder");
    assert.equal((await files.stat(at("link")))?.type, "link");
    assert.equal((await files.stat(at("to-folder")))?.type, "link");
    assert.equal((await files.stat(at("link")))?.size, 4);
    await assert.rejects(files.open(at("link")), isError("invalid", "link"));
    await assert.rejects(files.create(at("link")), isError("exists", "link"));
    await assert.rejects(files.removeFolder(at("to-folder")), isError("invalid"));
    await files.setAttributes(at("link"), { mode: 0o600, modifiedNs: 5_000_000_000n });
    assert.equal((await files.stat(at("link")))?.modifiedNs, 5_000_000_000n);
    assert.notEqual((await files.stat(at("file")))?.modifiedNs, 5_000_000_000n);
    await files.rename(at("link"), at("moved"));
    assert.equal(await files.readLink(at("moved")), "file");
    await files.remove(at("moved"));
    await files.remove(at("to-folder"));
    assert.equal(await text(files, at("file")), "content");
    await assert.rejects(files.readLink(at("file")), isError("invalid"));
  });

  check("links in the middle of a path are followed, but not in circles", async ({ files, at }) => {
    await files.makeFolder(at("folder"), 0o755);
    await put(files, at("folder/file"), "content");
    await files.makeLink(at("link"), "folder");
    assert.equal(await text(files, at("link/file")), "content");
    assert.equal((await files.stat(at("link/.")))?.type, "folder");
    assert.equal((await files.list(at("link"))).length, 1);
    await files.makeLink(at("round"), "round");
    await assert.rejects(files.stat(at("round/file")), isError("invalid"));
  });

  check("hard links are names of one file", async ({ files, at }) => {
    await put(files, at("one"), "content");
    await files.linkFile(at("one"), at("two"));
    const [one, two] = [await files.stat(at("one")), await files.stat(at("two"))];
    assert.deepEqual(one, two);
    assert.equal(one?.linkCount, 2);
    const file = await files.create(at("two"));
    await file.write(utf8Encode("C"), 0);
    await file.close();
    assert.equal(await text(files, at("one")), "Content");
    // Placing gives one name another file.
    await put(files, at("two"), "other");
    assert.equal(await text(files, at("one")), "Content");
    assert.equal((await files.stat(at("one")))?.linkCount, 1);
    await assert.rejects(files.linkFile(at("one"), at("two")), isError("exists"));
    await assert.rejects(files.linkFile(at("absent"), at("three")), isError("notFound"));
    await files.linkFile(at("one"), at("three"));
    // Renaming one name of a file to another one of it changes nothing.
    await files.rename(at("one"), at("three"));
    assert.equal((await files.stat(at("one")))?.linkCount, 2);
    await files.makeLink(at("symbolic"), "one");
    await files.linkFile(at("symbolic"), at("second symbolic"));
    assert.equal((await files.stat(at("second symbolic")))?.type, "link");
    assert.equal(await files.readLink(at("second symbolic")), "one");
  });
}

const oddTime = (number: bigint) => 1_700_000_000_000_000_001n + number * 1_000_000_007n;

function attributeTests(check: Check): void {
  check("all twelve bits of a mode are kept, whatever the process masks", async ({ files, at }) => {
    for (const mode of [0o4755, 0o2755, 0o1777, 0o7777, 0o666, 0o400, 0]) {
      await files.place(at("file"), utf8Encode("x"), { mode });
      assert.equal((await files.stat(at("file")))?.mode, mode);
    }
    await put(files, at("other"));
    await files.setAttributes(at("other"), { mode: 0o6711 });
    assert.equal((await files.stat(at("other")))?.mode, 0o6711);
    await files.makeFolder(at("folder"), 0o1777);
    assert.equal((await files.stat(at("folder")))?.mode, 0o1777);
    await files.setAttributes(at("folder"), { mode: 0o2775 });
    assert.equal((await files.stat(at("folder")))?.mode, 0o2775);
  });

  check("times keep their nanoseconds", async ({ files, at, exactTimes }) => {
    await files.makeFolder(at("folder"), 0o755);
    await put(files, at("file"));
    await files.makeLink(at("link"), "nowhere");
    await files.makeFolder(at(pathText(Uint8Array.of(0xff))), 0o755);
    const paths = ["folder", "file", "link", pathText(Uint8Array.of(0xff))];
    const second = 1_000_000_000n;
    const times = [0n, second, 1_764_000_000n * second, 1_764_000_000_123_456_789n, 1n, 999_999_999n];
    times.push(4_000_000_000_000_000_001n, -second, -5_000_000_001n, -1n);
    await Promise.all(
      paths.map(async (path) => {
        for (const modifiedNs of times) {
          await files.setAttributes(at(path), { modifiedNs });
          const got = (await files.stat(at(path)))?.modifiedNs as bigint;
          const isExact = exactTimes || modifiedNs % second === 0n;
          if (isExact) assert.equal(got, modifiedNs);
          else assert.ok(got - modifiedNs < 1_000n && modifiedNs - got < 1_000n, `${got} for ${modifiedNs}`);
        }
      }),
    );
    await files.place(at("placed"), utf8Encode("x"), { mode: 0o444, modifiedNs: 1_764_000_000n * second });
    assert.equal((await files.stat(at("placed")))?.modifiedNs, 1_764_000_000n * second);
  });

  check("many times at once find their files", async ({ files, at, exactTimes }) => {
    const numbers = Array.from({ length: 300 }, (_, index) => BigInt(index));
    await Promise.all(
      numbers.map((number) => files.place(at(`${number}`), utf8Encode("x"), { modifiedNs: oddTime(number) })),
    );
    for (const number of numbers) {
      const got = (await files.stat(at(`${number}`)))?.modifiedNs as bigint;
      const difference = got - oddTime(number);
      assert.ok(exactTimes ? difference === 0n : difference < 1_000n && difference > -1_000n);
    }
  });

  check("owners are set where that is allowed, and bits that matter do not go to others", async (context) => {
    const { files, at, setsOwner } = context;
    await put(files, at("file"));
    await files.setAttributes(at("file"), { uid: 12_345, gid: 54_321, mode: 0o4755 });
    const stat = await files.stat(at("file"));
    if (setsOwner) assert.deepEqual([stat?.uid, stat?.gid, stat?.mode], [12_345, 54_321, 0o4755]);
    else assert.equal(stat?.mode, 0o755);
    await files.makeLink(at("link"), "file");
    await files.setAttributes(at("link"), { uid: 1, gid: 1 });
    if (setsOwner) assert.equal((await files.stat(at("link")))?.uid, 1);
    assert.equal((await files.stat(at("file")))?.uid, stat?.uid);
    await files.setAttributes(at("file"), { gid: 7 });
    if (setsOwner) assert.equal((await files.stat(at("file")))?.uid, 12_345);
  });
}

function changeTests(check: Check): void {
  check("a change shows in size, times and inode", async ({ files, at }) => {
    await put(files, at("file"), "one");
    const before = await files.stat(at("file"));
    const open = await files.open(at("file"));
    assert.deepEqual(await open.stat(), before);
    await put(files, at("file"), "two");
    assert.equal((await open.stat()).inode, before?.inode);
    assert.notEqual((await files.stat(at("file")))?.inode, before?.inode);
    await open.close();
  });

  check("rename replaces files, links and empty folders", async ({ files, at, folder }) => {
    await put(files, at("a"), "a");
    await put(files, at("b"), "b");
    await files.rename(at("a"), at("b"));
    assert.equal(await text(files, at("b")), "a");
    await files.makeLink(at("c"), "b");
    await files.rename(at("b"), at("c"));
    assert.equal(await text(files, at("c")), "a");
    await files.makeFolder(at("d"), 0o755);
    await put(files, at("d/inside"), "inside");
    await files.makeFolder(at("e"), 0o755);
    await files.rename(at("d"), at("e"));
    assert.equal(await text(files, at("e/inside")), "inside");
    await assert.rejects(files.rename(at("c"), at("e")), isError("invalid"));
    await assert.rejects(files.rename(at("absent"), at("x")), isError("notFound"));
    await files.syncFolder(folder);
    assert.deepEqual(
      (await files.list(folder)).map(({ name }) => name),
      ["c", "e"],
    );
  });

  check("folders are made and removed, empty ones only", async ({ files, at }) => {
    await files.makeFolder(at("folder"), 0o755);
    await put(files, at("folder/file"));
    await assert.rejects(files.makeFolder(at("folder"), 0o755), isError("exists"));
    await assert.rejects(files.removeFolder(at("folder")), isError("exists"));
    await assert.rejects(files.removeFolder(at("folder/file")), isError("invalid"));
    await files.remove(at("folder/file"));
    assert.deepEqual(await files.list(at("folder")), []);
    await files.removeFolder(at("folder"));
    assert.equal(await files.stat(at("folder")), undefined);
  });
}

function failureTests(check: Check): void {
  check("failures have a code and name the path", async ({ files, at }) => {
    await put(files, at("file"));
    await files.makeFolder(at("folder"), 0o755);
    assert.equal(await files.stat(at("absent")), undefined);
    assert.equal(await files.stat(at("absent/below")), undefined);
    assert.equal(await files.stat(at("file/below")), undefined);
    await assert.rejects(files.list(at("absent")), isError("notFound", at("absent")));
    await assert.rejects(files.list(at("file")), isError("invalid", at("file")));
    await assert.rejects(files.open(at("absent")), isError("notFound", at("absent")));
    await assert.rejects(files.open(at("folder")), isError("invalid", at("folder")));
    await assert.rejects(files.create(at("folder")), isError("invalid", at("folder")));
    await assert.rejects(files.create(at("absent/file")), isError("notFound"));
    await assert.rejects(put(files, at("absent/file")), isError("notFound"));
    await assert.rejects(put(files, at("file/below")), isError("invalid"));
    await assert.rejects(files.remove(at("absent")), isError("notFound"));
    await assert.rejects(files.removeFolder(at("absent")), isError("notFound"));
    await assert.rejects(files.readLink(at("absent")), isError("notFound"));
    await assert.rejects(files.setAttributes(at("absent"), { mode: 0o600 }), isError("notFound"));
    await assert.rejects(files.setAttributes(at("absent"), { modifiedNs: 1n }), isError("notFound"));
    await assert.rejects(files.syncFolder(at("absent")), isError("notFound"));
    await assert.rejects(files.makeLink(at("file"), "target"), isError("exists"));
    await assert.rejects(files.makeFolder(at("absent/folder"), 0o755), isError("notFound"));
  });

  check("names that no file system takes are refused", async ({ files, at }) => {
    await assert.rejects(put(files, at("n".repeat(256))), isError("invalid"));
    await assert.rejects(files.stat(at("n".repeat(256))), isError("invalid"));
    await assert.rejects(files.create(at("nul\0nul")), isError("invalid"));
    await assert.rejects(files.stat(at("nul\0nul")), isError("invalid"));
    await assert.rejects(put(files, at(`nul\0${pathText(Uint8Array.of(0xff))}`)), isError("invalid"));
  });
}
