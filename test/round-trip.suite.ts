/**
 * A tree of this machine into a store and back, as a user does it: with the command, also killed in the middle with
 * SIGKILL, and compared with the original by two judges: what `lstat` and the contents say, and Debian's rsync.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, lstatSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { launch, outcomeOf, run } from "../src/cli/command.suite.ts";
import { open } from "../src/index.ts";

export interface RoundTrip {
  /** An existing directory of this machine. */
  readonly source: string;
  /** An empty directory for the store and what comes back. */
  readonly scratch: string;
  /** Kill the first put, and the get, after so many milliseconds, and go on by doing it again. */
  readonly killAfterMs?: number;
  readonly say: (text: string) => void;
}

export interface PutSummary {
  readonly files: number;
  readonly bytes: number;
  readonly newBytes: number;
  readonly unchanged: number;
}

/** Puts, puts again, gets and compares. Fails with an assertion that names what is not as it was. */
export async function roundTrip({ source, scratch, killAfterMs, say }: RoundTrip): Promise<void> {
  const [data, back] = [join(scratch, "data"), join(scratch, "back")];
  await (await open(data)).close();
  const put = ["file", "put", source, "tree:here", "--data", data, "--json"];
  const get = ["file", "get", "tree:here", back, "--data", data, "--json"];
  if (killAfterMs !== undefined) await killed(put, killAfterMs, say);
  const first = await timed(put);
  say(`put: ${summary(first)}`);
  const again = await timed(put);
  say(`put again: ${summary(again)}`);
  assert.equal(again.summary.newBytes, 0, "a second put of the same tree stores nothing new");
  assert.equal(again.summary.unchanged, again.summary.files, "a second put of the same tree reads no file");
  if (killAfterMs !== undefined) await killed(get, killAfterMs, say);
  const got = await timed(get);
  say(`get: ${summary(got)}`);
  await assertSameTree(source, back);
  const rsync = spawnSync(
    "rsync",
    ["-aHn", "--no-D", "--checksum", "--delete", "--itemize-changes", `${source}/`, `${back}/`],
    {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    },
  );
  assert.equal(rsync.status, 0, rsync.stderr);
  const changes = rsync.stdout.split("\n").filter((line) => line !== "" && !line.startsWith("skipping non-regular"));
  assert.deepEqual(changes, [], "rsync finds nothing to change");
}

async function killed(args: readonly string[], afterMs: number, say: (text: string) => void): Promise<void> {
  const child = launch(args);
  const outcome = outcomeOf(child);
  await Promise.race([sleep(afterMs), outcome]);
  child.kill("SIGKILL");
  const { status } = await outcome;
  say(`${args.slice(0, 2).join(" ")} ${status === null ? "killed" : "was done"} after ${afterMs} ms`);
}

interface Timed {
  readonly summary: PutSummary;
  readonly seconds: number;
}

async function timed(args: readonly string[]): Promise<Timed> {
  const startedMs = performance.now();
  const { status, stdout, stderr } = await run(args);
  assert.equal(status, 0, `holdfast ${args.join(" ")}: ${stderr}`);
  const last = stdout.trim().split("\n").at(-1) ?? "";
  return { summary: JSON.parse(last) as PutSummary, seconds: (performance.now() - startedMs) / 1_000 };
}

function summary({ summary: { files, bytes, newBytes }, seconds }: Timed): string {
  const added = newBytes === undefined ? "" : `, ${(newBytes / 1e6).toFixed(1)} MB new`;
  return `${files} files, ${(bytes / 1e6).toFixed(1)} MB${added} in ${seconds.toFixed(1)} s`;
}

/** Names, types, contents, modes, owners (as root), times to the nanosecond, links of both kinds, empty folders. */
export async function assertSameTree(expected: string, actual: string): Promise<void> {
  const differences: string[] = [];
  const [links, backLinks] = [new Map<string, string>(), new Map<string, string>()];
  const root = process.getuid?.() === 0;
  const visit = async (path: Buffer): Promise<void> => {
    const here = join(expected, "/");
    const [a, b] = [Buffer.concat([Buffer.from(here), path]), Buffer.concat([Buffer.from(join(actual, "/")), path])];
    const name = path.toString("latin1");
    const wanted = lstatSync(a, { bigint: true });
    const found = lstatSync(b, { bigint: true, throwIfNoEntry: false });
    if (found === undefined) {
      differences.push(`${name} is missing`);
      return;
    }
    if (wanted.isSymbolicLink()) {
      const [target, other] = [
        readlinkSync(a, { encoding: "latin1" }),
        found.isSymbolicLink() && readlinkSync(b, { encoding: "latin1" }),
      ];
      if (target !== other) differences.push(`${name} points to ${String(other)} instead of ${target}`);
    } else if (wanted.mode !== found.mode) {
      differences.push(`${name} has mode ${found.mode.toString(8)} instead of ${wanted.mode.toString(8)}`);
    }
    if (root && (wanted.uid !== found.uid || wanted.gid !== found.gid)) differences.push(`${name} has another owner`);
    if (wanted.mtimeNs !== found.mtimeNs) {
      differences.push(`${name} is of ${found.mtimeNs} instead of ${wanted.mtimeNs}`);
    }
    if (wanted.isFile()) {
      if (wanted.blocks * 1_024n < wanted.size && found.blocks > wanted.blocks * 2n + 64n) {
        differences.push(`${name} has ${found.blocks} blocks instead of ${wanted.blocks}: its holes are filled`);
      }
      if (wanted.size !== found.size) differences.push(`${name} has ${found.size} bytes instead of ${wanted.size}`);
      else if (found.isFile() && (await hashOf(a)) !== (await hashOf(b)))
        differences.push(`${name} has other contents`);
      if (wanted.nlink > 1n) {
        const first = links.get(`${wanted.dev}:${wanted.ino}`) ?? name;
        const other = backLinks.get(`${found.dev}:${found.ino}`) ?? name;
        if (first !== other) differences.push(`${name} is no hard link of ${first}`);
        links.set(`${wanted.dev}:${wanted.ino}`, first);
        backLinks.set(`${found.dev}:${found.ino}`, other);
      }
    }
    if (!wanted.isDirectory()) return;
    const [names, others] = [a, b].map((folder) => namesIn(folder, folder === a));
    for (const other of others ?? []) {
      if (!(names ?? []).some((one) => one.equals(other)))
        differences.push(`${name}/${other.toString("latin1")} is new`);
    }
    for (const one of names ?? []) await visit(path.length === 0 ? one : Buffer.concat([path, Buffer.from("/"), one]));
  };
  await visit(Buffer.alloc(0));
  assert.deepEqual(differences.slice(0, 20), []);
}

/** Sorted; of the original, without devices, sockets and pipes, which are not kept. */
function namesIn(folder: Buffer, onlyKept: boolean): Buffer[] {
  return readdirSync(folder, { encoding: "buffer", withFileTypes: true })
    .filter((entry) => !onlyKept || entry.isFile() || entry.isDirectory() || entry.isSymbolicLink())
    .map((entry) => entry.name as unknown as Buffer)
    .toSorted((one, other) => Buffer.compare(one, other));
}

async function hashOf(path: Buffer): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
  return hash.digest("hex");
}
