/**
 * The process behind `Program` (program.suite.ts): runs one command after the other, each with streams, an environment and a
 * directory as a process of its own would have them, but without loading everything anew.
 */
import { Readable, Writable } from "node:stream";
import type { ProgramRequest, ProgramOutcome } from "./program.suite.ts";
import { main } from "./program.ts";

class Sink extends Writable {
  readonly #pieces: Buffer[] = [];

  override _write(piece: Buffer, _: string, done: () => void): void {
    this.#pieces.push(Buffer.from(piece));
    done();
  }

  get text(): string {
    return Buffer.concat(this.#pieces).toString();
  }
}

const firstDirectory = process.cwd();
let last: Promise<void> = Promise.resolve();

async function serve({ args, endpoint, directory, input }: ProgramRequest): Promise<ProgramOutcome> {
  process.chdir(directory ?? firstDirectory);
  if (endpoint === undefined) delete process.env["HOLDFAST_ENDPOINT"];
  else process.env["HOLDFAST_ENDPOINT"] = endpoint;
  const [stdout, stderr] = [new Sink(), new Sink()];
  const streams = { stdin: Readable.from([Buffer.from(input)]), stdout, stderr };
  for (const [name, value] of Object.entries(streams))
    Object.defineProperty(process, name, { value, configurable: true });
  const status = await main([process.execPath, "holdfast", ...args]);
  return { status, stdout: stdout.text, stderr: stderr.text };
}

process.on("message", (request: ProgramRequest) => {
  last = last.then(async () => {
    const outcome = await serve(request).catch((error: unknown) => ({ failure: String(error) }));
    process.send?.(outcome);
  });
});
