/**
 * Runs every test file (or those named by glob patterns), prints what ran, every skip with its reason, and one closing
 * line. Exit status 1 on any failure, when nothing ran, and with CI set also on any skip.
 *
 *   node scripts/test.ts ["src/log/*.test.ts" …]
 */
import { run } from "node:test";
import { spec } from "node:test/reporters";

const patterns = process.argv.slice(2);
const started = performance.now();
const count = { passed: 0, failed: 0, skipped: 0 };
const skips: string[] = [];
const failures: string[] = [];
const slow: { readonly name: string; readonly ms: number }[] = [];

const events = run({
  globPatterns: patterns.length > 0 ? patterns : ["src/**/*.test.ts", "examples/**/*.test.ts", "test/**/*.test.ts"],
  concurrency: 2,
  // What hangs fails, and says which it was; nothing takes a fifth of it.
  timeout: 300_000,
});
events.on("test:pass", (event) => {
  if (event.details.type === "suite") return;
  if (event.skip !== undefined) {
    count.skipped++;
    skips.push(
      `${event.name}: ${typeof event.skip === "string" && event.skip !== "" ? event.skip : "no reason given"}`,
    );
  } else {
    count.passed++;
    slow.push({ name: event.name, ms: event.details.duration_ms });
  }
});
events.on("test:fail", (event) => {
  if (event.details.type === "suite") return;
  count.failed++;
  failures.push(`${event.file ?? ""}: ${event.name}`);
});
events.compose(new spec()).pipe(process.stdout);

events.on("end", () => {
  // After the reporter has written its last lines.
  setImmediate(() => {
    const longest = slow.toSorted((a, b) => b.ms - a.ms).slice(0, 5);
    console.log("\nLongest:");
    for (const { name, ms } of longest) console.log(`  ${(ms / 1_000).toFixed(1)} s  ${name}`);
    for (const skip of skips) console.log(`skipped  ${skip}`);
    for (const failure of failures) console.log(`failed   ${failure}`);
    console.log(`Took ${((performance.now() - started) / 1_000).toFixed(0)} s.`);
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    const skippedInCi = process.env["CI"] !== undefined && count.skipped > 0;
    if (skippedInCi) console.log("With CI set, nothing may be skipped.");
    process.exitCode = count.failed > 0 || count.passed === 0 || skippedInCi ? 1 : 0;
  });
});
