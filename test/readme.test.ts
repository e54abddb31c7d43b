/**
 * What README.md and docs/cli.md show is what happens. The `ts` blocks are type-checked and run, one directory for all
 * of a page, against what the `output` block behind each says. The `console` blocks are run line by line against one
 * member; `…` in what they show stands for anything on that line.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { outcomeOf, startMember, temporaryDirectory } from "../src/cli/command.suite.ts";
import type { Outcome } from "../src/cli/command.suite.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tsc = join(root, "node_modules", ".bin", "tsc");

interface Block {
  readonly language: string;
  readonly text: string;
}

async function blocksOf(page: string): Promise<Block[]> {
  const text = await readFile(join(root, page), "utf8");
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = "", body = ""]) => ({
    language,
    text: body,
  }));
}

test("README.md: the programs compile, run, and print what is shown", async () => {
  const directory = await temporaryDirectory();
  const member = await startMember(join(directory, "member"));
  const blocks = await blocksOf("README.md");
  const programs: { file: string; expected: string }[] = [];
  for (const [index, { language, text }] of blocks.entries()) {
    if (language !== "ts") continue;
    const file = `program-${programs.length}.ts`;
    const index_ = JSON.stringify(join(root, "src", "index.ts"));
    await writeFile(
      join(directory, file),
      text.replaceAll('"holdfast"', index_).replaceAll("127.0.0.1:7420", member.endpoint),
    );
    const output = blocks[index + 1];
    assert.equal(output?.language, "output", `program ${file} is followed by what it prints`);
    programs.push({ file, expected: output?.text ?? "" });
  }
  assert.ok(programs.length >= 4);
  await writeFile(join(directory, "package.json"), '{"type":"module"}');
  await symlink(join(root, "node_modules"), join(directory, "node_modules"));
  const config = {
    extends: join(root, "tsconfig.json"),
    files: programs.map(({ file }) => file),
    include: [],
    compilerOptions: { rewriteRelativeImportExtensions: false },
  };
  await writeFile(join(directory, "tsconfig.json"), JSON.stringify(config));
  await promisify(execFile)(tsc, ["-p", directory], { cwd: directory });
  for (const { file, expected } of programs) {
    const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: directory });
    assert.equal(stdout, expected, file);
  }
});

for (const page of ["README.md", "docs/cli.md"]) {
  test(`${page}: the commands print what is shown`, async () => {
    const directory = await temporaryDirectory();
    const member = await startMember(join(directory, "holdfast-data"), ["--name", "holdfast"]);
    let count = 0;
    for (const { language, text } of await blocksOf(page)) {
      if (language !== "console") continue;
      for (const [, command = "", expected = ""] of text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
        const { stdout, stderr } = await shell(command, directory, member.endpoint);
        assert.match(stdout + stderr, patternOf(expected), `${page}: ${command}`);
        count++;
      }
    }
    assert.ok(count > 10, `${count} commands were found`);
  });
}

/** Runs one line in a shell in which `npx holdfast` is this checkout's command. */
function shell(command: string, directory: string, endpoint: string): Promise<Outcome> {
  const main = join(root, "src", "cli", "main.ts");
  const script = `npx() { shift; '${process.execPath}' '${main}' "$@"; }\n${command}`;
  const env = { ...process.env, NO_COLOR: "1", HOLDFAST_ENDPOINT: endpoint };
  const child = spawn("sh", ["-c", script], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
  return outcomeOf(child);
}

function patternOf(expected: string): RegExp {
  const literal = expected.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`);
  return new RegExp(`^${literal.replaceAll("…", ".*")}$`);
}
