/** `holdfast collect` as a person types it: it frees what was deleted, and says what is kept nevertheless, and why. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { jsonLines, startMember, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

let member: Member;
const program = new Program();
const holdfast = (args: readonly string[], input = "") => program.succeed(args, { endpoint: member.endpoint, input });
const collect = () => program.run(["collect"], { endpoint: member.endpoint });
const large = "a line that is not needed for long\n".repeat(10_000);

before(async () => {
  member = await startMember(join(await temporaryDirectory(), "data"));
});

test("collect says what keeps deleted files, and frees them when nothing does", async () => {
  await holdfast(["file", "bucket", "create", "short", "--keep", "0"]);
  await holdfast(["file", "put", "-", "short:large"], large);
  await holdfast(["file", "put", "-", "notes:small"], "its bucket keeps versions");
  await holdfast(["snapshot", "create", "s"]);
  await holdfast(["file", "rm", "short:large"]);
  const kept = await collect();
  assert.match(kept.stdout, /^deleted .* and 0 chunks \(0 B\) of 1\n$/);
  const ofBucket = "still kept: replaced and deleted files of 1 bucket: notes (7 days)\n";
  assert.equal(kept.stderr, `${ofBucket}still kept: what 1 snapshot has\n`);
  const [json] = jsonLines(await holdfast(["collect", "--json", "--dry-run"])) as Record<string, unknown>[];
  assert.deepEqual([json?.["snapshots"], json?.["bucketsWithVersions"]], [1, ["notes"]]);
  await holdfast(["snapshot", "delete", "s"]);
  const freed = await collect();
  assert.match(freed.stdout, / and 1 chunk \(.*\) of 1\n$/);
  assert.equal(freed.stderr, ofBucket);
});
