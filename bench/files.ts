/**
 * The rows about files: whole trees put, put again with a little changed, and restored, by Holdfast, by restic and, as
 * what the disk alone allows, by rsync; and the bytes that each keeps. All take turns, and all work on a directory of
 * this machine without a server. `sync` ends every measurement, so that nobody leaves the writing to the others.
 */
import { execFile, execFileSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openStore } from "../src/member/index.ts";
import { nodeEnv } from "../src/host/index.ts";
import { haveCommands } from "./peers.ts";
import { figure, row, spread, spreadText, timesText } from "./table.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL("..", import.meta.url));

export interface FileBench {
  readonly rounds: number;
  /** An existing directory that may be filled. */
  readonly scratch: string;
  /** Bytes of the mixed tree and of the large file. 0: not that one; so with small files. */
  readonly treeSize: number;
  readonly largeSize: number;
  /** How many small files. */
  readonly smallCount: number;
}

/** One way to keep files. All paths are absolute. */
interface Keeper {
  readonly name: string;
  /** Makes an empty one in a directory that does not exist. */
  begin(repository: string): Promise<void>;
  put(repository: string, source: string): Promise<void>;
  get(repository: string, source: string, target: string): Promise<void>;
}

/** The command as users have it, compiled: see `build`. */
let main = "";

const holdfast = (...args: readonly string[]) =>
  run(process.execPath, ["--no-warnings", main, ...args], { maxBuffer: 1 << 26 });

/** Compiles the package into a folder; the command in it. */
function build(folder: string): string {
  mkdirSync(folder);
  const dist = join(folder, "dist");
  const compiler = join(here, "node_modules", ".bin", "tsc");
  execFileSync(compiler, ["-p", join(here, "tsconfig.build.json"), "--outDir", dist], { stdio: "inherit" });
  cpSync(join(here, "package.json"), join(folder, "package.json"));
  symlinkSync(join(here, "node_modules"), join(folder, "node_modules"));
  return join(dist, "cli", "main.js");
}

const keepers: Record<"holdfast" | "restic" | "rsync", Keeper> = {
  holdfast: {
    name: "Holdfast",
    async begin(repository) {
      const store = await openStore(nodeEnv({ directory: repository }));
      await store.close();
    },
    async put(repository, source) {
      await holdfast("file", "put", source, "bench:tree", "--data", repository);
    },
    async get(repository, _source, target) {
      await holdfast("file", "get", "bench:tree", target, "--data", repository);
    },
  },
  restic: {
    name: "restic",
    async begin(repository) {
      await restic(repository, "init", "--repository-version", "2");
    },
    async put(repository, source) {
      await restic(repository, "backup", source);
    },
    async get(repository, _source, target) {
      await restic(repository, "restore", "latest", "--target", target);
    },
  },
  rsync: {
    name: "rsync",
    begin(repository) {
      mkdirSync(repository);
      return Promise.resolve();
    },
    async put(repository, source) {
      await run("rsync", ["-aH", `${source}/`, `${repository}/`]);
    },
    async get(repository, _source, target) {
      await run("rsync", ["-aH", `${repository}/`, `${target}/`]);
    },
  },
};

async function restic(repository: string, ...args: readonly string[]): Promise<void> {
  const environment = { ...process.env, RESTIC_PASSWORD: "bench", RESTIC_CACHE_DIR: `${repository}.cache` };
  await run("restic", ["-q", "-r", repository, ...args], { env: environment, maxBuffer: 1 << 26 });
}

type Name = keyof typeof keepers;

/** The peers that are here or can be had. */
function presentKeepers(): readonly Name[] {
  const names: Name[] = ["holdfast"];
  for (const name of ["restic", "rsync"] as const) {
    if (haveCommands([name])) names.push(name);
    else console.log(`${name} (Debian: ${name}) is not installed: its figures are left out\n`);
  }
  return names;
}

async function timed(work: () => Promise<void>): Promise<number> {
  execFileSync("sync");
  const startedMs = performance.now();
  await work();
  execFileSync("sync");
  return (performance.now() - startedMs) / 1_000;
}

let discardCount = 0;

/**
 * Away, but deleted only at the end of the bench where there are many files: for minutes after that, ext4 looks at every
 * inode that was freed before it takes another, so that whoever makes files next would be slower, by a factor of three.
 */
function discard(path: string, scratch: string): void {
  if (!existsSync(path)) return;
  if (readdirSync(path).includes("large")) return rmSync(path, { recursive: true });
  renameSync(path, join(scratch, `discarded-${++discardCount}`));
}

/** Bytes on the disk below a directory. */
function sizeOnDisk(directory: string): number {
  return Number(execFileSync("du", ["-s", "--block-size=1", directory], { encoding: "utf8" }).split("\t")[0]);
}

export async function fileRows(bench: FileBench): Promise<void> {
  const names = presentKeepers();
  main = build(join(bench.scratch, "package"));
  console.log("\n### Files: seconds, median (spread); MB on the disk afterwards\n");
  row("workload", ...names.map((name) => keepers[name].name), "Holdfast to restic");
  row("---", ...names.map(() => "---"), "---");
  for (const [amount, title, make, change] of [
    [bench.treeSize, `${figure(bench.treeSize / 1e6)} MB of /usr`, makeTree, changeTree],
    [bench.smallCount, `${bench.smallCount.toLocaleString("en-US")} small files`, makeSmall, undefined],
    [bench.largeSize, `one file of ${figure(bench.largeSize / 1e6)} MB`, makeLarge, undefined],
  ] as const) {
    if (amount === 0) continue;
    const source = join(bench.scratch, "source");
    mkdirSync(source);
    make(source, bench);
    await treeRows(bench, names, title, source, change);
    discard(source, bench.scratch);
  }
}

async function treeRows(
  { rounds, scratch }: FileBench,
  names: readonly Name[],
  title: string,
  source: string,
  change: ((source: string) => void) | undefined,
): Promise<void> {
  const times = new Map<string, number[]>();
  const sizes = new Map<string, number[]>();
  const note = (into: Map<string, number[]>, step: string, name: Name, value: number) => {
    const key = `${step} ${name}`;
    into.set(key, [...(into.get(key) ?? []), value]);
  };
  const changed = join(scratch, "changed");
  if (change !== undefined) {
    cpSync(source, changed, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    change(changed);
  }
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const keeper = keepers[name];
      const repository = join(scratch, `repository-${name}`);
      const target = join(scratch, "target");
      const tree = join(scratch, "tree");
      execFileSync("cp", ["-a", source, tree]);
      await keeper.begin(repository);
      note(times, "put", name, await timed(() => keeper.put(repository, tree)));
      note(sizes, "put", name, sizeOnDisk(repository));
      mkdirSync(target);
      note(times, "get", name, await timed(() => keeper.get(repository, tree, target)));
      discard(target, scratch);
      note(times, "again", name, await timed(() => keeper.put(repository, tree)));
      note(sizes, "again", name, sizeOnDisk(repository));
      if (change !== undefined) {
        execFileSync("rsync", ["-aH", "--inplace", `${changed}/`, `${tree}/`]);
        note(times, "changed", name, await timed(() => keeper.put(repository, tree)));
        note(sizes, "changed", name, sizeOnDisk(repository));
      }
      for (const path of [repository, `${repository}.cache`, tree]) discard(path, scratch);
    }
  }
  discard(changed, scratch);
  const steps = { put: "first time", again: "again, unchanged", changed: "again, 1 % changed", get: "restore" };
  for (const [step, text] of Object.entries(steps)) {
    if (times.get(`${step} holdfast`) === undefined) continue;
    const median = (name: Name) => spread(times.get(`${step} ${name}`) ?? []).median;
    const cells = names.map((name) => {
      const size = sizes.get(`${step} ${name}`);
      const kept = size === undefined ? "" : `; ${figure(spread(size).median / 1e6)} MB`;
      return `${spreadText(spread(times.get(`${step} ${name}`) ?? []))}${kept}`;
    });
    row(
      `${title}, ${text}`,
      ...cells,
      names.includes("restic") ? timesText(median("restic") / median("holdfast")) : "–",
    );
  }
}

/** Whole folders of /usr until there is enough. */
function makeTree(source: string, { treeSize }: FileBench): void {
  let size = 0;
  const take = (from: string, to: string) => {
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      if (size >= treeSize) return;
      const [path, copy] = [join(from, entry.name), join(to, entry.name)];
      if (entry.isDirectory()) {
        mkdirSync(copy);
        take(path, copy);
      } else if (entry.isFile()) {
        const fileSize = statSync(path).size;
        // A few very large files would leave little room for all the others.
        if (fileSize > treeSize / 20) continue;
        size += fileSize;
        cpSync(path, copy, { preserveTimestamps: true });
      }
    }
  };
  for (const name of ["lib", "share", "include"]) {
    mkdirSync(join(source, name));
    take(join("/usr", name), join(source, name));
  }
}

/** Bytes in the middle of every hundredth file, and of larger ones more often: about a hundredth of all bytes is touched. */
function changeTree(source: string): void {
  let count = 0;
  const visit = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile() && count++ % 100 === 0) change(path);
    }
  };
  visit(source);
}

function change(path: string): void {
  const { size } = statSync(path);
  const bytes = Buffer.alloc(Math.max(1, size >>> 1), path);
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, size >>> 2);
  closeSync(file);
}

/** Texts of half a kilobyte to 4 KiB, each another. */
function makeSmall(source: string, { smallCount }: FileBench): void {
  const text = readFileSync(process.execPath).subarray(0, 64 << 20);
  for (let number = 0; number < smallCount; number++) {
    const folder = join(source, String(Math.floor(number / 500)).padStart(4, "0"));
    if (number % 500 === 0) mkdirSync(folder);
    const size = 512 + ((number * 977) % 3_584);
    const at = (number * 65_521) % (text.length - size);
    const file = openSync(join(folder, `${number}.txt`), "w");
    writeSync(file, Buffer.concat([Buffer.from(`${number}\n`), text.subarray(at, at + size)]));
    closeSync(file);
  }
}

/** The bytes of /usr's files one after another. */
function makeLarge(source: string, { largeSize }: FileBench): void {
  const into = openSync(join(source, "large"), "w");
  const buffer = Buffer.alloc(1 << 20);
  let size = 0;
  const visit = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (size >= largeSize) return;
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile()) append(path);
    }
  };
  const append = (path: string) => {
    const from = openSync(path, "r");
    for (;;) {
      const count = readSync(from, buffer, 0, Math.min(buffer.length, largeSize - size), null);
      if (count === 0) break;
      writeSync(into, buffer, 0, count);
      size += count;
    }
    closeSync(from);
  };
  visit("/usr");
  closeSync(into);
}
