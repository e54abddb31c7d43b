/**
 * A whole tree of this machine into a store and back, killed in the middle of both ways, and compared.
 *
 *   npm run tree -- [/usr] [--kill-after-ms 5000] [--directory DIR]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { roundTrip } from "../test/round-trip.suite.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "kill-after-ms": { type: "string", default: "5000" },
    directory: { type: "string", default: tmpdir() },
  },
});
const scratch = mkdtempSync(join(values.directory, "holdfast-tree-"));
try {
  const source = positionals[0] ?? "/usr";
  await roundTrip({ source, scratch, killAfterMs: Number(values["kill-after-ms"]), say: (text) => console.log(text) });
  console.log("identical");
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
