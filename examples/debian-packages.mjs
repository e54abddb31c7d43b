#!/usr/bin/env node
/**
 * A real data set of some 60,000 records: Debian's own package index, as one JSON object a package on standard output.
 *
 *   apt-get update
 *   node examples/debian-packages.mjs > packages.jsonl
 *   npx holdfast key import packages.jsonl --key Package --prefix debian/
 *
 * It reads what `apt-cache dumpavail` prints: stanzas of `Field: value` lines, separated by empty lines; a line that
 * starts with a space continues the field before it (deb822). A package in several versions appears once, the last wins.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

const source = spawn("apt-cache", ["dumpavail"], { stdio: ["ignore", "pipe", "inherit"] });
source.on("error", () => {
  console.error("apt-cache is not here: this example needs Debian or Ubuntu, after `apt-get update`.");
  process.exit(1);
});

const packages = new Map();
for await (const stanza of stanzas(source.stdout.setEncoding("utf8"))) {
  const fields = parse(stanza);
  if (fields.Package !== undefined) packages.set(fields.Package, fields);
}

/** The stanzas of a stream of text. */
async function* stanzas(stream) {
  let rest = "";
  for await (const text of stream) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop();
    yield* parts;
  }
  yield rest;
}

/** The fields of one stanza by name. */
function parse(stanza) {
  const fields = {};
  let field;
  for (const line of stanza.split("\n")) {
    if (/^[ \t]/.test(line)) {
      if (field !== undefined) fields[field] += `\n${line.slice(1)}`;
      continue;
    }
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    field = line.slice(0, colon);
    fields[field] = line.slice(colon + 1).trim();
  }
  return fields;
}

for (const entry of packages.values()) {
  for (const size of ["Size", "Installed-Size"]) if (entry[size] !== undefined) entry[size] = Number(entry[size]);
  if (!process.stdout.write(`${JSON.stringify(entry)}\n`)) await once(process.stdout, "drain");
}
console.error(`${packages.size} packages`);
if (packages.size === 0) {
  console.error("No packages: run `apt-get update` first.");
  process.exitCode = 1;
}
