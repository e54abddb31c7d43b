#!/usr/bin/env node
/**
 * The `holdfast` command begins here: it turns on the cache of compiled modules, which halves the time a command takes
 * to start, and only then loads the program. The cache is the user's own folder, never one that others may write to.
 */
import { enableCompileCache } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

// Without a home, or where it cannot be written, the command works as well, only slower.
enableCompileCache(join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "holdfast"));
const { main } = await import("./program.ts");
process.exitCode = await main(process.argv);
